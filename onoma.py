"""Which country does a name come from? Answers of a trained model.

>>> import onoma
>>> model = onoma.load()  # a folder of yours: onoma.load("data/onnx")
>>> model.predict(["Müller", "Смирнов"])  # a list of Prediction
>>> model.frame(table["name"])  # a pandas data frame with the same index
>>> model.predict_proba(names)  # an array; its columns are model.classes_
>>> model.shares(names)  # the shares of the countries in a whole population

`load` gives a `Predictor`, whose methods say the rest. Answering needs NumPy and ONNX Runtime; the
extra ``onoma[pipeline]`` has pandas, SciPy for `Predictor.shares` and torch for ``data/model``.
A name is not a nationality: probabilities are of the model's countries alone.
"""

import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.core.text import UNSURE
from stages.corpus.normalize import Rejected
from stages.serving.bundle import load
from stages.serving.prediction import Prediction
from stages.serving.predictor import Predictor

__all__ = [
    "UNSURE",
    "Prediction",
    "Predictor",
    "Rejected",
    "UserError",
    "load",
    "predict",
]

try:
    __version__ = version("onoma")
except PackageNotFoundError:  # a checkout on the path that is not installed
    __version__ = "unknown"


def predict(
    names: Iterable[Any],
    folder: str | Path | None = None,
    top: int = 3,
    abstain: float = 0.0,
) -> list[Prediction]:
    """`Predictor.predict` by the model in ``folder``, which is read on each call.

    To predict more than once, `load` the model.

    Args:
        names: a list, array or Series of names, in any script.
        folder: see `load`.
        top: how many of the most probable countries to list.
        abstain: answer `UNSURE` if the highest probability is below this.

    Raises:
        UserError: the folder holds no model.
    """
    return load(folder).predict(names, top, abstain)


if __name__ == "__main__":  # python -m onoma
    from stages.commands.cli import main

    sys.exit(main())
