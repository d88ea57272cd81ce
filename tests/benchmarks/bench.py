"""`make bench`: the recipes (`seed`: the notebook's GRU) and a linear SVM on the same files.

    python -m tests.benchmarks.bench --train A.csv.gz --test B.csv.gz --json OUT

Each contestant runs in a process of its own, in alternation, several times; run n uses seed n.
Scores are means, times are medians, p-values are the largest of the runs. Seconds of training are
rows / (rows per second), as the stage prints it for each epoch.
"""

import argparse
import json
import re
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from stages.commands import recipe
from stages.core.files import write_json
from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.model.linear import linear_svm
from stages.model.metrics import accuracy_and_f1, expected_calibration_error
from tests.conftest import ROOT, run, set_params

CLEAN, INDEX = Path("data/clean"), Path("data/index")
DEFAULT = ("list", "thorough", "fast", "seed", "svm")
PREDICTIONS = 5  # passes over the test names; the median counts
ECE_BINS = 15
SVM_C = 1.0

Predict = Callable[[list[str]], NDArray[Any]]
"""Names -> (names,) indices of countries, or (names, countries) probabilities."""
Epochs = list[tuple[float, float]]
"""For each epoch: seconds of training until its end, and test accuracy."""


def main() -> None:
    """Run all contestants, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="CSV of name,country")
    parser.add_argument("--test", type=Path, required=True, help="CSV of name,country")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the figures here")
    parser.add_argument("--runs", type=int, default=3, help="of each contestant (3)")
    parser.add_argument("--target", type=float, default=0.85, help="accuracy to be timed (0.85)")
    parser.add_argument(
        "--only", choices=[*recipe.RECIPES, "svm"], nargs="+", default=DEFAULT, help="no others"
    )
    args = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in args.only}
    right: dict[str, NDArray[np.bool_]] = {}
    with tempfile.TemporaryDirectory(prefix="onoma-bench.") as scratch:
        folder = Path(scratch)
        shutil.copy(ROOT / "params.yaml", folder)
        files = {"ingest__train": args.train.resolve(), "ingest__test": args.test.resolve()}
        set_params(folder, corpus__names="surnames", evaluate__people="null", **files)
        for stage in ("ingest", "index"):
            python(folder, f"stages.{stage}")
        for seed in range(1, args.runs + 1):
            for name in args.only:
                print(f"bench: run {seed} of {args.runs}: {name}", file=sys.stderr, flush=True)
                code = f"from tests.benchmarks import bench; bench.measure({name!r}, {seed})"
                run_or_exit(folder, sys.executable, "-c", code)
                result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
                reached = [
                    when for when, accuracy in result.pop("epochs") if accuracy >= args.target
                ]
                result["seconds_to_target"] = reached[0] if reached else None
                right[name] = np.load(folder / "right.npy")
                results[name].append(result)
            for name in set(results) if "svm" in results else ():
                results[name][-1]["mcnemar_p"] = mcnemar(right[name], right["svm"])
    figures = {name: summary(runs) for name, runs in results.items()}
    print(pd.DataFrame(figures).to_string(float_format=shown, na_rep="-"))
    if args.json:
        write_json(args.json, {"target": args.target, "summary": figures, "runs": results})


def shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.4g}"


def python(folder: Path, module: str) -> str:
    """Run a module of this project there; return what it prints."""
    return run_or_exit(folder, "python", "-m", module)


def run_or_exit(folder: Path, *command: str) -> str:
    """Run a command there; end with its last error if it fails."""
    done = run(folder, "env", f"PYTHONPATH={ROOT}", *command, timeout=None)
    if done.returncode:
        sys.exit(done.stderr.strip().splitlines()[-1])
    return done.stdout


def mcnemar(mine: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value of two classifiers being equally good.

    McNemar, Note on the sampling error of the difference between correlated proportions (1947).
    """
    wins, losses = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def summary(runs: list[dict[str, Any]]) -> dict[str, float | None]:
    """One figure of each kind; None where some run has none."""
    ways = {"accuracy": statistics.fmean, "macro_f1": statistics.fmean, "ece": statistics.fmean}
    ways["mcnemar_p"] = max
    table = {key: [run[key] for run in runs] for key in runs[0]}
    return {
        key: None if None in values else ways.get(key, statistics.median)(values)
        for key, values in table.items()
    }


def measure(name: str, seed: int) -> None:
    """Train and test one contestant in this process; write result.json and right.npy."""
    predict, epochs = train_svm(seed) if name == "svm" else train_recipe(name, seed)
    rows, _, names, labels = data()
    predict(names[:100])  # the first call is the slowest
    seconds = []
    for _ in range(PREDICTIONS):
        start = time.perf_counter()
        predictions = predict(names)
        seconds.append(time.perf_counter() - start)
    error = None
    if predictions.ndim == 2:
        error = expected_calibration_error(predictions, labels, ECE_BINS)
        predictions = predictions.argmax(axis=1)
    np.save("right.npy", predictions == labels)
    peaks = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    result = {
        **accuracy_and_f1(labels, predictions),
        "ece": error,
        "epochs": epochs,
        "train_seconds": epochs[-1][0],
        "train_names_per_second": len(rows) * len(epochs) / epochs[-1][0],
        "predict_names_per_second": len(names) / statistics.median(seconds),
        "peak_megabytes": max(peak.ru_maxrss for peak in peaks) / 1024,
    }
    write_json(Path("result.json"), result)


def train_recipe(name: str, seed: int) -> tuple[Predict, Epochs]:
    """A recipe of this project, trained and exported by the stages; ONNX Runtime predicts."""
    from stages.serving.bundle import load

    values = {key.replace(".", "__"): value for key, value in recipe.values(name).items()}
    set_params(Path(), train__seed=seed, **values)
    rates = re.findall(r"epoch \d+/\d+: loss .*, ([\d,]+) names/s", python(Path(), "stages.train"))
    python(Path(), "stages.export")
    rows = len(Names.load(INDEX / "train"))
    ends = np.cumsum([rows / float(rate.replace(",", "")) for rate in rates])
    curves = json.loads(Path("metrics/epochs.json").read_text(encoding="utf-8"))
    epochs = list(zip(ends.tolist(), curves["test_accuracy"].values(), strict=True))
    return load("data/onnx", threads=2).predict_proba, epochs


def train_svm(seed: int) -> tuple[Predict, Epochs]:
    """TF-IDF of character n-grams and a linear SVM, with the C that is best on such a list."""
    params = Params.load(Path("params.yaml")).baseline
    rows, countries, names, labels = data()
    start = time.perf_counter()
    model = linear_svm(rows["name"], rows["country"], params.ngrams, SVM_C, seed)
    seconds = time.perf_counter() - start

    def predict(names: list[str]) -> NDArray[Any]:
        return np.asarray(np.searchsorted(countries, model.predict(names)))

    return predict, [(seconds, float((predict(names) == labels).mean()))]


def data() -> tuple[pd.DataFrame, list[str], list[str], NDArray[np.int64]]:
    """Training rows, countries in the order of their labels, test names and their labels."""
    train, test = (pd.read_parquet(CLEAN / f"{split}.parquet") for split in ("train", "test"))
    countries = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))["countries"]
    return train, countries, test["name"].tolist(), np.searchsorted(countries, test["country"])


if __name__ == "__main__":
    main()
