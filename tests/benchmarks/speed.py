"""Names per second of `Predictor.predict`: full names against surnames, two checkouts.

    python tests/benchmarks/speed.py --rounds 9 --other ../onoma-at-6046350

Needs data/onnx and data/clean, in the other checkout data/onnx and its test file. Full names are
the given names and surnames of data/raw/people/names_people.csv.gz, crossed; surnames are the test
names of one word; the other checkout's test names are asked of both models. Each contestant is a
process of its own; they take turns, and the medians count.
"""

import argparse
import csv
import gzip
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
PEOPLE = HERE / "data/raw/people/names_people.csv.gz"
FULL_NAMES = 20_000


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--other", type=Path, help="another checkout")
    options.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.worker:
        answer()
        return
    contestants = {"surnames": (HERE, surnames()), "full names": (HERE, full_names())}
    if args.other:
        with gzip.open(args.other / "data/raw/names_test.csv.gz", "rt", encoding="utf-8") as file:
            names = [row[0] for row in csv.reader(file)]
        contestants |= {"its test names, other": (args.other.resolve(), names)}
        contestants |= {"its test names": (HERE, names)}
    workers = {name: start(*values) for name, values in contestants.items()}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for _ in range(args.rounds):
        for name, worker in workers.items():
            seconds = ask(worker)
            rates[name].append(tuple(len(contestants[name][1]) / second for second in seconds))
    for worker in workers.values():
        worker.communicate()
    print("| names | of | names/s of user CPU | names/s |\n|---|--:|--:|--:|")
    for name, column in rates.items():
        user, wall = map(statistics.median, zip(*column, strict=True))
        print(f"| {name} | {len(contestants[name][1]):,} | {user:,.0f} | {wall:,.0f} |")
    pairs = [("full names", "surnames"), ("its test names", "its test names, other")]
    for one, two in pairs[: 1 + bool(args.other)]:
        ratios = [
            [a / b for a, b in zip(*pair, strict=True)]
            for pair in zip(rates[one], rates[two], strict=True)
        ]
        user, wall = map(statistics.median, zip(*ratios, strict=True))
        print(f"{one} / {two}: {user:.2f} of user CPU, {wall:.2f} of time")


def surnames() -> list[str]:
    """The test names of one word."""
    import pyarrow.parquet as pq

    names = pq.read_table(HERE / "data/clean/test.parquet", columns=["name"])["name"].to_pylist()
    return sorted({name for name in names if " " not in name})


def full_names() -> list[str]:
    """Given names and surnames of people, crossed at random."""
    with gzip.open(PEOPLE, "rt", encoding="utf-8") as file:
        people = list(csv.DictReader(file))
    choose = random.Random(1)
    names: dict[str, None] = {}
    while len(names) < FULL_NAMES:
        names[f"{choose.choice(people)['given']} {choose.choice(people)['surname']}"] = None
    return list(names)


def start(checkout: Path, names: list[str]) -> "subprocess.Popen[str]":
    """Start a worker process that has these names; `ask` makes it predict them."""
    worker = subprocess.Popen(
        [sys.executable, __file__, "--worker"],
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


def answer() -> None:
    """Predict the names of the first line once for each line after it."""
    import onoma

    model = onoma.load("data/onnx")
    names = json.loads(sys.stdin.readline())
    for _ in sys.stdin:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
        model.predict(names)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
        print(json.dumps([b - a for a, b in zip(before, after, strict=True)]), flush=True)


if __name__ == "__main__":
    main()
