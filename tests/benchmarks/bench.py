"""`onoma bench`: the recipes, the notebook's classifier and a linear SVM on the same files.

Each contestant runs in a process of its own, in alternation, several times. Times are medians over
the runs; run n uses seed n.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML
from scipy.stats import binomtest

from stages.core.errors import UserError
from stages.core.files import write_json

ROOT = Path(__file__).resolve().parents[2]
CONTESTANT = "tests.benchmarks.contestants"
CONTESTANTS = ("default", "thorough", "fast", "seed", "notebook", "svm")
DEFAULT = ("default", "thorough", "fast", "notebook", "svm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--train", type=Path, required=True, help="CSV of name,country")
    parser.add_argument("--test", type=Path, required=True, help="CSV of name,country")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the figures here")
    parser.add_argument("--runs", type=int, default=3, help="of each contestant (3)")
    parser.add_argument("--target", type=float, default=0.85, help="accuracy to be timed (0.85)")
    parser.add_argument(
        "--only", choices=CONTESTANTS, nargs="+", default=DEFAULT, help="run these alone"
    )


def run(args: argparse.Namespace) -> None:
    """Run all contestants, print the table, write the figures."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in args.only}
    predictions: dict[str, list[NDArray[np.int64]]] = {name: [] for name in args.only}
    with tempfile.TemporaryDirectory(prefix="onoma-bench.") as scratch:
        folder = Path(scratch)
        prepare(folder, args.train.resolve(), args.test.resolve())
        labels = np.load(folder / "data/index/test/labels.npy").astype(np.int64)
        for seed in range(1, args.runs + 1):
            for name in args.only:
                print(f"bench: run {seed} of {args.runs}: {name}", file=sys.stderr, flush=True)
                work = [sys.executable, "-m", CONTESTANT, name, str(seed), str(args.target)]
                done = in_folder(folder, work)
                results[name].append(json.loads(done.splitlines()[-1]))
                predictions[name].append(np.load(folder / "predictions.npy"))
    if "svm" in results:
        for name in results:
            for mine, theirs, result in zip(
                predictions[name], predictions["svm"], results[name], strict=True
            ):
                result["mcnemar_p"] = mcnemar(mine == labels, theirs == labels)
    figures = {name: summary(runs) for name, runs in results.items()}
    show(figures, args.target)
    if args.json:
        write_json(args.json, {"target": args.target, "summary": figures, "runs": results})


def prepare(folder: Path, train: Path, test: Path) -> None:
    """Run the stages ingest and index on the files, in a folder of their own."""
    document = YAML().load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["ingest"] |= {"train": str(train), "test": str(test)}
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(document, file)
    for stage in ("ingest", "index"):
        in_folder(folder, [sys.executable, "-m", f"stages.{stage}"])


def in_folder(folder: Path, command: list[str]) -> str:
    """Run a command there with this project's modules; return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().removeprefix("onoma: ") or f"{command} failed")
    return done.stdout


def mcnemar(mine: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value of two classifiers being equally good.

    McNemar, Note on the sampling error of the difference between correlated proportions (1947).
    """
    wins, losses = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of scores and medians of times over the runs; None where some run has none."""
    found: dict[str, Any] = {}
    for key in runs[0]:
        values = [run[key] for run in runs]
        if None in values:
            found[key] = None
        elif key in ("accuracy", "macro_f1", "ece"):
            found[key] = statistics.fmean(values)
        elif key == "mcnemar_p":
            found[key] = max(values)
        else:
            found[key] = statistics.median(values)
    return found


def show(figures: dict[str, dict[str, Any]], target: float) -> None:
    """Print the table, with ratios to the notebook's classifier in brackets.

    A contestant that misses the target in some run takes "over" its training time.
    """
    columns: list[tuple[str, str, Callable[[float], str]]] = [
        ("accuracy", "accuracy", "{:.4f}".format),
        ("macro_f1", "macro-F1", "{:.4f}".format),
        ("ece", "ECE", "{:.4f}".format),
        ("mcnemar_p", "p vs. SVM (largest)", "{:.1e}".format),
        ("seconds_to_target", f"seconds to {target:.0%}", "{:.2f}".format),
        ("train_names_per_second", "training names/s", "{:,.0f}".format),
        ("predict_names_per_second", "prediction names/s", "{:,.0f}".format),
        ("peak_megabytes", "peak MB", "{:,.0f}".format),
    ]
    table = Table(title="Medians of times, means of scores; (x) is the ratio to the notebook's")
    table.add_column("")
    for name in figures:
        table.add_column(name, justify="right")
    for key, title, style in columns:
        row = [title]
        for name, figure in figures.items():
            value, base = figure.get(key), figures.get("notebook", {}).get(key)
            text = "-" if value is None else style(value)
            if value is None and key == "seconds_to_target":
                text = f"over {figure['train_seconds']:.0f}"
            if key.endswith(("second", "target")) and value and base and name != "notebook":
                text += f" ({value / base:.2f}x)"
            row.append(text)
        table.add_row(*row)
    Console(width=140).print(table)
