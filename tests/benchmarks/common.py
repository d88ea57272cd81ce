"""What benchmarks share: options, rows, tables, turns, a paired test."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from tests.conftest import ROOT

RAW = ROOT / "data/raw"
sys.path.insert(0, str(RAW))  # the scripts that build the corpus import each other from there

Contestant, Result = TypeVar("Contestant"), TypeVar("Result")


def options(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with an option for each keyword.

    Args:
        description: text of ``--help``.
        defaults: the default of each option, a list of them, or a type if it has none.
    """
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=shown)
    for name, default in defaults.items():
        if isinstance(default, type):
            parser.add_argument(f"--{name}", type=default)
        elif isinstance(default, list):
            parser.add_argument(f"--{name}", type=type(default[0]), nargs="+", default=default)
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser


def clean(split: str, project: Path = Path()) -> tuple[list[str], list[str]]:
    """Names and countries of the rows of data/clean: train or test."""
    table = pd.read_parquet(project / f"data/clean/{split}.parquet")
    return table["name"].tolist(), table["country"].tolist()


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], texts: int = 1) -> None:
    """Print a Markdown table, each row as soon as it is there.

    Args:
        header: the title of each column.
        rows: the cells of each row.
        texts: the number of columns, the first ones, that are no numbers.
    """
    print("| " + " | ".join(header) + " |")
    print("|" + texts * "---|" + (len(header) - texts) * "--:|")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def in_turns(
    contestants: Mapping[Contestant, Callable[[], Result]], rounds: int
) -> dict[Contestant, list[Result]]:
    """Call each once in every round, so that other work on the machine slows all of them alike."""
    results: dict[Contestant, list[Result]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            results[name].append(measure())
    return results


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """The time that a call takes by a clock."""
    start = clock()
    work()
    return clock() - start


def mcnemar(mine: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value of two classifiers being equally good.

    McNemar, Note on the sampling error of the difference between correlated proportions (1947):
    of the rows that one of the two has right and the other wrong, as many are expected on each
    side.
    """
    wins, losses = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
