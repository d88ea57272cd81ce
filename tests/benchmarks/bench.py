"""`make bench`: the recipes (`seed`: the notebook's GRU) and a linear SVM on the same files.

    python -m tests.benchmarks.bench --train A.csv.gz --test B.csv.gz --target 0.85

The contestants take turns, several times (`--only`: some of them); run n uses seed n. Scores are
means, times are medians, p-values (against the SVM) are the largest of the runs. Seconds of
training are rows / (rows per second), as the stage prints it for each epoch.
"""

import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.commands import recipe
from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.model.linear import linear_svm
from stages.model.metrics import accuracy_and_f1, expected_calibration_error
from stages.serving.bundle import load
from tests.benchmarks.common import RAW, clean, mcnemar, options
from tests.conftest import ROOT, run, set_params

DEFAULT = ("svm", "list", "thorough", "fast", "seed")
ECE_BINS = 15
SVM_C = 1.0  # the best on such a list
SUMMARY = {
    **dict.fromkeys(("accuracy", "macro_f1", "ece"), "mean"),
    "mcnemar_p": "max",
    "train_seconds": "median",
    # None if some run did not get there.
    "seconds_to_target": lambda column: column.median(skipna=False),
}

Run = tuple[NDArray[np.str_], float, list[tuple[float, float]]]
"""Predicted countries; calibration error; of each epoch, seconds until its end and accuracy."""


def main() -> None:
    """Run all contestants, print the table, write the figures."""
    files = {split: RAW / f"names_{split}.csv.gz" for split in ("train", "test")}
    parser = options(__doc__, **files, runs=3, target=0.85)
    choices = [*recipe.RECIPES, "svm"]
    parser.add_argument("--only", choices=choices, nargs="+", default=DEFAULT)
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="onoma-bench.") as scratch:
        folder = Path(scratch)
        shutil.copy(ROOT / "params.yaml", folder)
        files = {"ingest__train": args.train.resolve(), "ingest__test": args.test.resolve()}
        set_params(folder, corpus__names="surnames", evaluate__people="null", **files)
        for name in ("ingest", "index"):
            stage(folder, name)
        countries = clean("test", folder)[1]
        for seed in range(1, args.runs + 1):
            right = {}
            for name in sorted(args.only, key="svm".__ne__):  # the others are compared with it
                print(f"bench: run {seed} of {args.runs}: {name}", file=sys.stderr, flush=True)
                train = train_svm if name == "svm" else train_recipe
                predictions, error, epochs = train(folder, name, seed)
                right[name] = predictions == countries
                reached = [when for when, accuracy in epochs if accuracy >= args.target]
                figures = {
                    "contestant": name,
                    **accuracy_and_f1(countries, predictions),
                    "ece": error,
                    "mcnemar_p": mcnemar(right[name], right["svm"]) if "svm" in right else None,
                    "train_seconds": epochs[-1][0],
                    "seconds_to_target": reached[0] if reached else np.nan,
                }
                results.append(figures)
    summary = pd.DataFrame(results).groupby("contestant", sort=False).agg(SUMMARY).T
    print(summary.to_string(float_format="{:.4g}".format, na_rep="-"))


def stage(folder: Path, name: str) -> str:
    """Run a stage of this project there; return what it prints, or end with its last error."""
    command = ("env", f"PYTHONPATH={ROOT}", "python", "-m", f"stages.{name}")
    done = run(folder, *command, timeout=None)
    if done.returncode:
        sys.exit(done.stderr.strip().splitlines()[-1])
    return done.stdout


def train_recipe(folder: Path, name: str, seed: int) -> Run:
    """A recipe of this project, trained and exported by the stages; ONNX Runtime predicts."""
    values = {key.replace(".", "__"): value for key, value in recipe.values(name).items()}
    set_params(folder, train__seed=seed, **values)
    rates = re.findall(r"epoch \d+/\d+: loss .*, ([\d,]+) names/s", stage(folder, "train"))
    stage(folder, "export")
    rows = len(Names.load(folder / "data/index/train"))
    ends = np.cumsum([rows / float(rate.replace(",", "")) for rate in rates])
    curves = json.loads((folder / "metrics/epochs.json").read_text(encoding="utf-8"))
    epochs = list(zip(ends.tolist(), curves["test_accuracy"].values(), strict=True))
    model, (names, countries) = load(folder / "data/onnx"), clean("test", folder)
    table, labels = model.predict_proba(names), np.searchsorted(model.countries, countries)
    error = expected_calibration_error(table, labels, ECE_BINS)
    return model.classes_[table.argmax(axis=1)], error, epochs


def train_svm(folder: Path, name: str, seed: int) -> Run:
    """TF-IDF of character n-grams and a linear SVM."""
    ngrams = Params.load(folder / "params.yaml").baseline.ngrams
    rows, (names, countries) = clean("train", folder), clean("test", folder)
    start = time.perf_counter()
    model = linear_svm(*rows, ngrams, SVM_C, seed)
    ended = time.perf_counter() - start
    predictions = model.predict(names)
    return predictions, np.nan, [(ended, float((predictions == countries).mean()))]


if __name__ == "__main__":
    main()
