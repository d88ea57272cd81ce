"""Stage baseline: a linear SVM on the same rows, the bar for the classifier.

Reads data/clean; writes metrics/baseline.json.
"""

import sys
from pathlib import Path

import pandas as pd

from stages.core.errors import exit_code
from stages.core.files import write_metrics
from stages.core.params import Params
from stages.model.linear import linear_svm
from stages.model.metrics import accuracy_and_f1

CLEAN = Path("data/clean")
METRICS = Path("metrics/baseline.json")


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml")).baseline
    train, test = (pd.read_parquet(CLEAN / f"{split}.parquet") for split in ("train", "test"))
    model = linear_svm(params.ngrams, params.regularisation, params.seed)
    predictions = model.fit(train["name"], train["country"]).predict(test["name"])
    metrics = accuracy_and_f1(test["country"], predictions)
    write_metrics(METRICS, metrics)
    print("baseline: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))


if __name__ == "__main__":
    sys.exit(exit_code(main))
