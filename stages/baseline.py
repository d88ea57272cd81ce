"""Stage baseline: a linear SVM on the same rows, the bar for the classifier.

Reads data/clean and data/raw/people; writes metrics/baseline.json.
"""

import sys
from pathlib import Path

import pandas as pd

from stages.core.errors import exit_code
from stages.core.files import write_metrics
from stages.core.params import Params
from stages.corpus.people import people_files, questions
from stages.model.linear import decision_table, linear_svm
from stages.model.metrics import accuracy_and_f1, top_accuracy

CLEAN, PEOPLE = Path("data/clean"), Path("data/raw/people")
METRICS = Path("metrics/baseline.json")


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml"))
    train, test = (pd.read_parquet(CLEAN / f"{split}.parquet") for split in ("train", "test"))
    names, countries = train["name"].tolist(), train["country"].tolist()
    model = linear_svm(names, countries, **params.baseline.model_dump())
    metrics = accuracy_and_f1(test["country"], model.predict(test["name"]))
    form = (params.corpus.names, params.ingest.normalize, params.ingest.max_length)
    files = people_files(params.evaluate.people)
    for question in questions(PEOPLE, files, model.classes_, *form):
        table = decision_table(model, question.texts)
        metrics[f"{question.prefix}_accuracy"] = top_accuracy(table, question.labels, 1)
        metrics[f"{question.prefix}_top3"] = top_accuracy(table, question.labels, 3)
    write_metrics(METRICS, metrics)
    print("baseline: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))


if __name__ == "__main__":
    sys.exit(exit_code(main))
