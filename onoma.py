"""Which country does a surname come from? The public API, by a trained model.

import onoma
model = onoma.load("data/onnx")  # needs NumPy and ONNX Runtime; data/model needs torch
model.predict(["Müller", "Смирнов"])
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.corpus.normalize import Rejected
from stages.serving.bundle import load
from stages.serving.predictor import UNSURE, Prediction, Predictor

__all__ = [
    "UNSURE",
    "Prediction",
    "Predictor",
    "Rejected",
    "UserError",
    "load",
    "predict",
    "shares",
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
        names: in any script.
        folder: a bundle, ``data/onnx`` or ``data/model``.
        top: how many of the most probable countries to list.
        abstain: answer `UNSURE` if the highest probability is below this.

    Raises:
        UserError: the folder holds no bundle.
        Rejected: a name is empty, too long or has control characters.
    """
    return load(folder).predict(names, top, abstain)


def shares(names: Sequence[str], folder: str | Path = "data/onnx") -> dict[str, Any]:
    """The shares of the countries in a population, estimated from its names.

    Args:
        names: of the whole population or a random sample of it; in any script.
        folder: a bundle, ``data/onnx`` or ``data/model``.

    Returns:
        What ``onoma shares --json`` writes: ``shares`` lists country, share, its 95 % interval
        (``lower``, ``upper``) and ``plain``, the mean probability, the largest share first;
        ``notes`` say when the estimate is doubtful.

    Raises:
        UserError: the folder holds no bundle, or its model was trained without held-out rows.
    """
    from stages.commands.shares import Population, summary  # imports SciPy and pyarrow

    model = load(folder)
    population = Population(len(model.countries), seed=1)
    population.add(*model.ask(names)[:2])
    return {"model": model.model_hash, "population": model.population} | summary(
        model, population, None
    )
