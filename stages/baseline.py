"""Stage baseline: a linear SVM on the same rows, the bar that the GRU must clear.

Reads data/clean; writes metrics/baseline.json.
"""

import sys
from pathlib import Path

import pandas as pd
from sklearn.metrics import accuracy_score, f1_score

from stages.core.errors import exit_code
from stages.core.files import write_json
from stages.core.params import Params
from stages.model.linear import linear_svm

CLEAN = Path("data/clean")
METRICS = Path("metrics/baseline.json")


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml")).baseline
    train, test = (pd.read_parquet(CLEAN / f"{split}.parquet") for split in ("train", "test"))
    if train["country"].nunique() == 1:
        guesses = train["country"].iloc[[0] * len(test)]  # an SVM needs something to tell apart
    else:
        model = linear_svm(params.ngrams, params.regularisation, params.seed)
        guesses = model.fit(train["name"], train["country"]).predict(test["name"])
    metrics = {
        "accuracy": float(accuracy_score(test["country"], guesses)),
        "macro_f1": float(f1_score(test["country"], guesses, average="macro", zero_division=0.0)),
    }
    write_json(METRICS, metrics)
    print("baseline: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))


if __name__ == "__main__":
    sys.exit(exit_code(main, Path(".onoma/baseline.lock")))
