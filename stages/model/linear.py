"""The linear yardstick: TF-IDF of character n-grams and a linear SVM."""

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC


def linear_svm(ngrams: int, regularisation: float, seed: int) -> Pipeline:
    """An untrained classifier of names: ``fit(names, countries)``, ``predict(names)``.

    Args:
        ngrams: longest character n-gram; names are lower-cased and marked at both ends.
        regularisation: C; higher fits the training names closer.
        seed: the seed of the solver's order.
    """
    features = TfidfVectorizer(
        analyzer="char", ngram_range=(1, ngrams), preprocessor=_marked, sublinear_tf=True
    )
    return make_pipeline(features, LinearSVC(C=regularisation, random_state=seed))


def _marked(name: str) -> str:
    return f"^{name.lower()}$"
