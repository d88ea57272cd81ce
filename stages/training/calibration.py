"""Confidence that means what it says: one temperature for all logits."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from stages.corpus.dataset import Names
from stages.model.classifier import Classifier
from stages.training.inference import all_logits

RANGE = (0.05, 20.0)


def temperature_of(
    model: Classifier, held_out: Names, batch_size: int, device: torch.device
) -> float:
    """`fit_temperature` of a model, by names that it has not met."""
    logits = all_logits(model, held_out, model.logits.out_features, batch_size, device)
    return fit_temperature(logits, held_out.labels)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature that makes held-out names likeliest: probabilities = softmax(logits / T).

    Guo et al., On Calibration of Modern Neural Networks (2017). It changes no ranking, hence no
    accuracy. The likelihood has one maximum in T.

    Args:
        logits: (names, countries), of names that the model was not trained on.
        labels: (names,) their countries.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        logged = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-logged[rows, labels].mean())

    best = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))
