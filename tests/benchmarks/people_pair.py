"""The model against the linear SVM on the same people: a paired test.

    python -m tests.benchmarks.people_pair [data/model] [0.5]

Reads params.yaml, data/clean, data/raw/people and the model; trains the SVM of the stage baseline,
with a number as the second argument one that also has whole words, of that weight.
For each file of ``evaluate.people`` it prints the accuracy of both by surname, by surname of those
who have a given name, and by full name. p is that of the exact McNemar test: of the people whom one
of the two has right and the other wrong, as many are expected on either side.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from stages.baseline import CLEAN, PEOPLE
from stages.core.params import Params
from stages.corpus.people import people_files, read_people
from stages.model.linear import linear_svm
from stages.serving.bundle import load


def main() -> None:
    """Print the table."""
    params = Params.load(Path("params.yaml"))
    train = pd.read_parquet(CLEAN / "train.parquet")
    words = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    rows = train["name"], train["country"]
    svm = linear_svm(*rows, **params.baseline.model_dump(), words=words)
    model = load(sys.argv[1] if len(sys.argv) > 1 else "data/model")
    form = (params.corpus.names, params.ingest.normalize, params.ingest.max_length)

    print("| people | names | model | SVM | difference | only model | only SVM | p |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")

    def show(title: str, names: pd.Series, countries: pd.Series) -> None:
        probabilities = model.ask(names.tolist()).probabilities
        predictions = np.array(model.countries)[probabilities.argmax(axis=1)]
        ours, theirs = predictions == countries, svm.predict(names) == countries
        won, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        p = binomtest(won, won + lost).pvalue if won + lost else 1.0
        scores = f"{ours.mean():.4f} | {theirs.mean():.4f} | {ours.mean() - theirs.mean():+.4f}"
        print(f"| {title} | {len(names):,} | {scores} | {won} | {lost} | {p:.2g} |")

    for prefix, file in people_files(params.evaluate.people).items():
        people = read_people(PEOPLE / file, model.countries, *form)
        show(f"{prefix}, surname", people["surname"], people["country"])
        named = people[people["full_name"] != ""]
        if len(named):
            show(f"{prefix}, surname of those", named["surname"], named["country"])
            show(f"{prefix}, full name", named["full_name"], named["country"])


if __name__ == "__main__":
    main()
