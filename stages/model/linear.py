"""The linear yardstick: TF-IDF of character n-grams and a linear SVM."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from joblib import parallel_config
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.svm import LinearSVC

THREADS = 2  # each has a copy of the features; the number changes no result
TOLERANCE = 0.004  # of the solver; with 0.02 it stops early, with .01 of the people less right


def linear_svm(
    names: Sequence[str],
    countries: Sequence[str],
    ngrams: int,
    regularisation: float,
    seed: int,
    class_weight: str | None = None,
    words: float = 0.0,
) -> Pipeline:
    """Train a classifier of names, ``predict(names)``.

    For speed, a name that stands several times is one row of that weight, and n-grams of one name
    alone are left out.

    Args:
        names: (rows,) the training names.
        countries: (rows,) their countries.
        ngrams: longest character n-gram; names are lower-cased and marked at both ends.
        regularisation: C; higher fits the training names closer.
        seed: the seed of the solver's order.
        class_weight: balanced (each country weighs the same) or None (each name does).
        words: weight of a name's whole words beside its n-grams; 0: they do not count.
    """
    rows = Counter(zip(names, countries, strict=True))
    sizes = Counter(countries)
    weights = np.array(list(rows.values()), dtype=float)
    if class_weight == "balanced":
        weights *= [len(countries) / len(sizes) / sizes[country] for _, country in rows]
    features = TfidfVectorizer(
        analyzer="char", ngram_range=(1, ngrams), min_df=2, preprocessor=_marked, sublinear_tf=True
    )
    if words:
        whole = TfidfVectorizer(analyzer=_words)
        both = [("ngrams", features), ("words", whole)]
        features = FeatureUnion(both, transformer_weights={"words": words})
    distinct, labels = zip(*rows, strict=True)
    with config_context(enable_metadata_routing=True), parallel_config("threading"):
        one = LinearSVC(C=regularisation, tol=TOLERANCE, random_state=seed)
        svm = OneVsRestClassifier(one.set_fit_request(sample_weight=True), n_jobs=THREADS)
        svm.fit(features.fit_transform(distinct), labels, sample_weight=weights)
    return make_pipeline(features, svm)


def decision_table(model: Pipeline, names: Sequence[str]) -> NDArray[np.float64]:
    """(names, countries) decision values, in the order of ``model.classes_``."""
    values = np.asarray(model.decision_function(names))
    return np.stack([-values, values], axis=1) if values.ndim == 1 else values


def _words(name: str) -> list[str]:
    return name.lower().split(" ")


def _marked(name: str) -> str:
    return f"^{name.lower()}$"
