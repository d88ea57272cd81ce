"""Metrics of predictions and probabilities."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


def accuracy_and_f1(labels: Any, predictions: Any) -> dict[str, float]:
    """``accuracy``, and ``macro_f1`` over the classes that occur in either argument."""
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0.0)),
    }


def top_accuracy(probabilities: Probabilities, labels: Labels, top: int) -> float:
    """Share of rows whose label is among the ``top`` most probable countries."""
    # scikit-learn's top_k_accuracy_score refuses a single country.
    top = min(top, probabilities.shape[1])
    best = np.argpartition(-probabilities, top - 1, axis=1)[:, :top]
    return float((best == labels[:, None]).any(axis=1).mean())


def expected_calibration_error(probabilities: Probabilities, labels: Labels, bins: int) -> float:
    """Mean absolute difference of confidence and accuracy over equal-width bins.

    Bins are weighted by their rows: Guo et al., On Calibration of Modern Neural Networks, 2017,
    equation 3.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, confidence - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def negative_log_likelihood(probabilities: Probabilities, labels: Labels) -> float:
    """Mean negative log-probability of the label, in nats."""
    # scikit-learn's log_loss refuses a single country.
    chosen = np.asarray(probabilities, dtype=np.float64)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


def scores(
    probabilities: Probabilities, labels: Labels, seen: NDArray[np.bool_], bins: int
) -> dict[str, float]:
    """All scalar metrics of one split.

    Args:
        probabilities: (rows, countries), each row sums to 1.
        labels: (rows,) true countries.
        seen: (rows,) whether the name is in the training data as well.
        bins: of the calibration error.
    """
    predictions = probabilities.argmax(axis=1)
    new = ~np.asarray(seen)
    return {
        **accuracy_and_f1(labels, predictions),
        "top3_accuracy": top_accuracy(probabilities, labels, 3),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels, bins),
        # 0 if every name is in the training data.
        "unseen_accuracy": float((labels == predictions)[new].mean()) if new.any() else 0.0,
    }


def per_country(
    labels: Labels, predictions: Labels, countries: list[str]
) -> Mapping[str, dict[str, float | int]]:
    """``precision``, ``recall``, ``f1`` and ``support`` (true rows) of each country."""
    columns = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(len(countries)), zero_division=0.0
    )
    names = ("precision", "recall", "f1", "support")
    return {
        country: dict(zip(names, (value.item() for value in row), strict=True))
        for country, *row in zip(countries, *columns, strict=True)
    }


def accuracy_interval(correct: NDArray[np.bool_], groups: NDArray[Any]) -> tuple[float, float]:
    """95 % interval of accuracy; rows of one group (spellings of one name) count as one draw.

    The ratio estimator of cluster sampling: Cochran, Sampling Techniques, 1977, section 9.
    """
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    mean = correct.mean()
    residuals = np.bincount(place, correct) - mean * sizes
    half = 1.96 * np.sqrt((residuals**2).sum()) / len(correct)
    return float(max(mean - half, 0)), float(min(mean + half, 1))


def details(
    probabilities: Probabilities,
    labels: Labels,
    scripts: NDArray[Any],
    groups: NDArray[Any],
    bins: int,
) -> dict[str, Any]:
    """What the model card says beyond `scores`.

    Args:
        probabilities: (rows, countries).
        labels: (rows,) true countries.
        scripts: (rows,) what each name is written in.
        groups: (rows,) the same for the spellings of one name.
        bins: of the calibration error.

    Returns:
        ``interval`` of the accuracy, ``scripts`` (support, accuracy, its interval, ece) and
        ``thresholds``: share answered and share of these that is right.
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels

    def interval(rows: NDArray[np.bool_]) -> dict[str, float]:
        lower, upper = accuracy_interval(correct[rows], groups[rows])
        return {"lower": lower, "upper": upper}

    found: dict[str, Any] = {"interval": interval(np.ones(len(labels), dtype=bool))}
    found["scripts"] = {
        str(script): {
            "support": int((scripts == script).sum()),
            "accuracy": float(correct[scripts == script].mean()),
            **interval(scripts == script),
            "ece": expected_calibration_error(
                probabilities[scripts == script], labels[scripts == script], bins
            ),
        }
        for script in np.unique(scripts)
    }
    found["thresholds"] = {
        f"{threshold:.1f}": {
            "answered": float((confidence >= threshold).mean()),
            "right": float(correct[confidence >= threshold].mean())
            if (confidence >= threshold).any()
            else 1.0,
        }
        for threshold in np.arange(0.0, 1.0, 0.1)
    }
    return found
