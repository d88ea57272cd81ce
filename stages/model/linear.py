"""The linear yardstick: TF-IDF of character n-grams and a linear SVM."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC


def linear_svm(
    ngrams: int, regularisation: float, seed: int, class_weight: str | None = None
) -> Pipeline:
    """An untrained classifier of names: ``fit(names, countries)``, ``predict(names)``.

    Args:
        ngrams: longest character n-gram; names are lower-cased and marked at both ends.
        regularisation: C; higher fits the training names closer.
        seed: the seed of the solver's order.
        class_weight: balanced (each country weighs the same) or None (each name does).
    """
    features = TfidfVectorizer(
        analyzer="char", ngram_range=(1, ngrams), preprocessor=_marked, sublinear_tf=True
    )
    svm = LinearSVC(C=regularisation, class_weight=class_weight, random_state=seed)
    return make_pipeline(features, svm)


def decision_table(model: Pipeline, names: Sequence[str]) -> NDArray[np.float64]:
    """(names, countries) decision values, in the order of ``model.classes_``."""
    values = np.asarray(model.decision_function(names))
    return np.stack([-values, values], axis=1) if values.ndim == 1 else values


def _marked(name: str) -> str:
    return f"^{name.lower()}$"
