"""Which country does a surname come from? The public API, by a trained model.

import onoma
model = onoma.load("data/onnx")  # needs NumPy and ONNX Runtime; data/model needs torch
model.predict(["Müller", "Смирнов"])
model.shares(names)  # the countries of a whole population; needs SciPy
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stages.core.errors import UserError
from stages.corpus.normalize import Rejected
from stages.serving.bundle import load
from stages.serving.prediction import UNSURE, Prediction
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
    names: Sequence[str],
    folder: str | Path = "data/onnx",
    top: int = 3,
    abstain: float = 0.0,
) -> list[Prediction]:
    """The most probable country of each name, by the model in ``folder``.

    Reads the model on each call; to predict more than once, `load` it and call
    `Predictor.predict`.

    Args:
        names: the names, in any script.
        folder: the bundle, ``data/onnx`` or ``data/model``.
        top: how many of the most probable countries to list.
        abstain: answer `UNSURE` if the highest probability is below this.

    Raises:
        UserError: the folder holds no bundle.
        Rejected: a name is empty, too long or has control characters.
    """
    return load(folder).predict(names, top, abstain)
