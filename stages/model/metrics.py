"""Metrics of predictions and probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anyascii import anyascii
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support

from stages.corpus.normalize import script

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Sets = NDArray[np.bool_]


def accuracy_and_f1(labels: Any, predictions: Any) -> dict[str, float]:
    """``accuracy``, and ``macro_f1`` over the classes that occur in either argument."""
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0.0)),
    }


def top_accuracy(probabilities: Probabilities, labels: Labels, top: int) -> float:
    """Share of rows whose label is among the ``top`` most probable countries."""
    # scikit-learn's top_k_accuracy_score wants another shape of the table for two countries.
    best = np.argsort(-probabilities, axis=1)[:, :top]
    return float((best == labels[:, None]).any(axis=1).mean())


def expected_calibration_error(probabilities: Probabilities, labels: Labels, bins: int) -> float:
    """Mean absolute difference of confidence and accuracy over equal-width bins.

    Bins are weighted by their rows: Guo et al., On Calibration of Modern Neural Networks, 2017,
    equation 3.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    row_bins = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(row_bins, confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def calibration(probabilities: Probabilities, labels: Labels, bins: int) -> dict[str, float]:
    """``nll``, mean negative log-probability of the label in nats, and ``ece`` of so many bins."""
    countries = np.arange(probabilities.shape[1])
    return {
        "nll": float(log_loss(labels, probabilities, labels=countries)),
        "ece": expected_calibration_error(probabilities, labels, bins),
    }


def scores(
    probabilities: Probabilities, labels: Labels, seen: NDArray[np.bool_], bins: int
) -> dict[str, float]:
    """All scalar metrics of one split.

    Args:
        probabilities: (rows, countries), each row sums to 1.
        labels: (rows,) true countries.
        seen: (rows,) whether the name is in the training data as well.
        bins: the number of bins of the calibration error.
    """
    predictions = probabilities.argmax(axis=1)
    unseen = ~np.asarray(seen)
    return {
        **accuracy_and_f1(labels, predictions),
        "top3_accuracy": top_accuracy(probabilities, labels, 3),
        **calibration(probabilities, labels, bins),
        # 0 if every name is in the training data.
        "unseen_accuracy": float((labels == predictions)[unseen].mean()) if unseen.any() else 0.0,
    }


def scores_of_people(probabilities: Probabilities, labels: Labels, bins: int) -> dict[str, float]:
    """``accuracy``, ``top3`` and ``ece``, as of `scores`."""
    return {
        "accuracy": top_accuracy(probabilities, labels, 1),
        "top3": top_accuracy(probabilities, labels, 3),
        "ece": expected_calibration_error(probabilities, labels, bins),
    }


def coverage(sets: Sets | None, labels: Labels) -> dict[str, float]:
    """``coverage``, the share of sets that contain the label, and ``set_size``, their mean size.

    Args:
        sets: (rows, countries) the countries of each set; None gives no metrics.
        labels: (rows,) true countries.
    """
    if sets is None:
        return {}
    covered = sets[np.arange(len(labels)), labels]
    return {"coverage": float(covered.mean()), "set_size": float(sets.sum(axis=1).mean())}


def means_by_country(
    values: dict[str, NDArray[Any]], sets: Sets | None, labels: Labels, countries: Sequence[str]
) -> pd.DataFrame:
    """Means of these values and ``coverage`` over the rows of each country; NaN without rows."""
    table = pd.DataFrame(values)
    if sets is not None:
        table["coverage"] = sets[np.arange(len(labels)), labels]
    means = table.astype(float).groupby(labels).mean().reindex(range(len(countries)))
    return means.set_axis(list(countries))


def confusion(labels: Labels, predictions: Labels, countries: Sequence[str]) -> pd.DataFrame:
    """Every pair that occurs: actual and predicted country, rows, share of actual."""
    table = pd.DataFrame({"actual": labels, "predicted": predictions}).astype(int)
    pairs = table.value_counts(sort=False).rename("rows").reset_index()
    pairs["share"] = (pairs["rows"] / pairs.groupby("actual")["rows"].transform("sum")).round(4)
    pairs[["actual", "predicted"]] = np.array(countries)[pairs[["actual", "predicted"]]]
    return pairs


def per_country(labels: Labels, predictions: Labels, countries: list[str]) -> pd.DataFrame:
    """``precision``, ``recall``, ``f1`` and ``support`` (true rows) of each country."""
    columns = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(len(countries)), zero_division=0.0
    )
    names = ("precision", "recall", "f1", "support")
    return pd.DataFrame(dict(zip(names, columns, strict=True)), index=countries)


def accuracy_interval(correct: NDArray[np.bool_], groups: NDArray[Any]) -> dict[str, float]:
    """95 % interval of accuracy; rows of one group (spellings of one name) count as one draw.

    The ratio estimator of cluster sampling: Cochran, Sampling Techniques, 1977, section 9.
    """
    mean = correct.mean()
    residuals = pd.Series(correct - mean).groupby(groups).sum()
    half = 1.96 * np.sqrt((residuals**2).sum()) / len(correct)
    return {"lower": float(max(mean - half, 0)), "upper": float(min(mean + half, 1))}


def written_in(name: str) -> str:
    """``ascii``, ``accented`` (other Latin letters), or the script of the first letter."""
    first = next((script(c).lower() for c in name if c.isalpha()), "other")
    return first if first != "latin" else "ascii" if name.isascii() else "accented"


def details(
    probabilities: Probabilities, labels: Labels, names: Sequence[str], bins: int
) -> dict[str, Any]:
    """What the model card says beyond `scores`.

    Args:
        probabilities: (rows, countries) the model's answers.
        labels: (rows,) true countries.
        names: (rows,) the names; `anyascii` has one spelling of those that are spellings of one.
        bins: the number of bins of the calibration error.

    Returns:
        ``interval`` of the accuracy, ``scripts`` (support, accuracy, its interval, ece) and
        ``thresholds``: share answered and share of these that is right.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    spellings = np.array([anyascii(name).lower() for name in names])
    scripts = np.array([written_in(name) for name in names])
    by_script = {
        str(script): {
            "support": int(own.sum()),
            "accuracy": float(correct[own].mean()),
            **accuracy_interval(correct[own], spellings[own]),
            "ece": expected_calibration_error(probabilities[own], labels[own], bins),
        }
        for script in np.unique(scripts)
        for own in [scripts == script]
    }
    by_threshold = {
        f"{threshold:.1f}": {
            "answered": float(answered.mean()),
            "right": float(correct[answered].mean()) if answered.any() else 1.0,
        }
        for threshold in np.arange(0.0, 1.0, 0.1)
        for answered in [confidence >= threshold]
    }
    interval = accuracy_interval(correct, spellings)
    return {"interval": interval, "scripts": by_script, "thresholds": by_threshold}
