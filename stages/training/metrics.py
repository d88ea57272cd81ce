"""How good probabilities are: the metrics that the pipeline reports."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


def macro_f1(labels: Labels, guesses: Labels) -> float:
    """Mean F1 over the countries that occur in ``labels`` or ``guesses``."""
    return float(f1_score(labels, guesses, average="macro", zero_division=0.0))


def top_accuracy(probabilities: Probabilities, labels: Labels, top: int) -> float:
    """Share of rows whose label is among the ``top`` likeliest countries."""
    top = min(top, probabilities.shape[1])
    likeliest = np.argpartition(-probabilities, top - 1, axis=1)[:, :top]
    return float((likeliest == labels[:, None]).any(axis=1).mean())


def expected_calibration_error(probabilities: Probabilities, labels: Labels, bins: int) -> float:
    """Mean distance of confidence and accuracy over equal-width bins, weighted by their rows.

    Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.
    """
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, confidence - hit, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def negative_log_likelihood(probabilities: Probabilities, labels: Labels) -> float:
    """Mean -ln of the probability of the label, in nats."""
    # scikit-learn's log_loss refuses a single country.
    chosen = np.asarray(probabilities, dtype=np.float64)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


def scores(
    probabilities: Probabilities, labels: Labels, seen: NDArray[np.bool_], bins: int
) -> dict[str, float]:
    """All scalar metrics of one split.

    Args:
        probabilities: (rows, countries), each row summing to 1.
        labels: (rows,) true countries.
        seen: (rows,) whether the name also stands in training.
        bins: of the calibration error.
    """
    guesses = probabilities.argmax(axis=1)
    new = ~np.asarray(seen)
    return {
        "accuracy": float(accuracy_score(labels, guesses)),
        "macro_f1": macro_f1(labels, guesses),
        "top3_accuracy": top_accuracy(probabilities, labels, 3),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels, bins),
        # Without a single unseen name there is nothing to tell apart.
        "unseen_accuracy": float(accuracy_score(labels[new], guesses[new])) if new.any() else 0.0,
    }


def per_country(
    labels: Labels, guesses: Labels, countries: list[str]
) -> dict[str, dict[str, float | int]]:
    """Precision, recall, F1 and support (true rows) of each country."""
    columns = precision_recall_fscore_support(
        labels, guesses, labels=np.arange(len(countries)), zero_division=0.0
    )
    return {
        country: {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for country, precision, recall, f1, support in zip(countries, *columns, strict=True)
    }
