"""Names per second of `Predictor.predict`: full names against surnames, two checkouts.

    python tests/benchmarks/speed.py --rounds 9 --other ../onoma-at-6046350

Needs data/onnx and data/clean, in the other checkout data/onnx and its test file. Full names are
the given names and surnames of data/raw/people/names_people.csv.gz, crossed; surnames are the test
names of one word; the other checkout's test names are asked of both models. Each contestant is a
process of its own; they take turns, and the medians count.
"""

import json
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parents[2]
sys.path[0] = str(HERE)

from tests.benchmarks.common import RAW, clean, in_turns, options, print_table  # noqa: E402

FULL_NAMES = 20_000
# Predicts the names of the first line once for each line after it; prints seconds of user CPU and
# of time.
WORKER = """
import json, resource, sys, time
import onoma
model, names = onoma.load("data/onnx"), json.loads(sys.stdin.readline())
for _ in sys.stdin:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
    model.predict(names)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
    print([b - a for a, b in zip(before, after)], flush=True)
"""


def main() -> None:
    args = options(__doc__, rounds=9, other=Path).parse_args()
    surnames = sorted({name for name in clean("test", HERE)[0] if " " not in name})
    contestants = {"surnames": (HERE, surnames), "full names": (HERE, full_names())}
    pairs = [("full names", "surnames")]
    if args.other:
        table = pd.read_csv(
            args.other / "data/raw/names_test.csv.gz", header=None, keep_default_na=False
        )
        contestants["its test names, other"] = (args.other.resolve(), table[0].tolist())
        contestants["its test names"] = (HERE, table[0].tolist())
        pairs.append(("its test names", "its test names, other"))
    workers = {name: partial(ask, start(*values)) for name, values in contestants.items()}
    numbers = {name: len(names) for name, (_, names) in contestants.items()}
    times = in_turns(workers, args.rounds)
    rates = {name: numbers[name] / np.array(column) for name, column in times.items()}
    header = ("names", "of", "names/s of user CPU", "names/s")
    medians = {name: np.median(column, axis=0) for name, column in rates.items()}
    rows = ([n, f"{numbers[n]:,}", f"{u:,.0f}", f"{w:,.0f}"] for n, (u, w) in medians.items())
    print_table(header, rows)
    for one, two in pairs:
        user, wall = np.median(rates[one] / rates[two], axis=0)
        print(f"{one} / {two}: {user:.2f} of user CPU, {wall:.2f} of time")


def full_names() -> list[str]:
    """Given names and surnames of people, crossed at random."""
    people = pd.read_csv(RAW / "people/names_people.csv.gz", keep_default_na=False)
    givens, surnames = people["given"].tolist(), people["surname"].tolist()
    choose = random.Random(1)
    names: dict[str, None] = {}
    while len(names) < FULL_NAMES:
        names[f"{choose.choice(givens)} {choose.choice(surnames)}"] = None
    return list(names)


def start(checkout: Path, names: list[str]) -> "subprocess.Popen[str]":
    """Start a worker process that has these names; `ask` makes it predict them."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdin
    print(json.dumps(names), file=worker.stdin, flush=True)
    ask(worker)  # the first call is the slowest
    return worker


def ask(worker: "subprocess.Popen[str]") -> list[float]:
    """Seconds of user CPU and of time that the next prediction takes."""
    assert worker.stdin and worker.stdout
    print(file=worker.stdin, flush=True)
    seconds: list[float] = json.loads(worker.stdout.readline())
    return seconds


if __name__ == "__main__":
    main()
