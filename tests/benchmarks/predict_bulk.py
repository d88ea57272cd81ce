"""Names per second and peak memory of bulk prediction, beside two other ways on the same file.

    python tests/benchmarks/predict_bulk.py --rows 1000000 --rounds 3
    python tests/benchmarks/predict_bulk.py --rows 10000000 --rounds 1 --only onoma

Run in a checkout with data/clean and data/onnx. Each way is a process of its own; they take
turns, and the median counts:

- onoma: `onoma predict --input FILE --output OUT.csv`, from start to end of the process.
- svm: the linear SVM of the baseline; reading, predicting and writing, without its training.
- seed: the GRU of the lecture notebook (2 layers, 100 wide, both directions), name by name; on
  the file's first rows only, since all of them would take too long. Its weights are random,
  which does not change its speed.
"""

import argparse
import csv
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

WAYS = ("onoma", "svm", "seed")
SEED_ROWS = 5000


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", choices=WAYS)
    options.add_argument("--folder", type=Path, default=Path("/tmp/onoma-benchmark"))
    options.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = options.parse_args()
    source = args.folder / f"people-{args.rows}.csv"
    if args.way:
        print(json.dumps({"svm": svm, "seed": seed}[args.way](source)))
        return
    distinct = write_people(source, args.rows)
    ways = [args.only] if args.only else list(WAYS)
    results: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number in range(args.rounds):
        for way in ways:
            results[way].append(measure(way, source, args))
            print(f"round {number + 1}: {way}: {results[way][-1][0]:,.0f} names/s", flush=True)
    print(f"\n{args.rows:,} rows, {distinct:,} distinct names; median of {args.rounds}\n")
    print("| way | names/s | peak memory |\n|---|---:|---:|")
    for way in ways:
        rate, memory = (statistics.median(column) for column in zip(*results[way], strict=True))
        print(f"| {way} | {rate:,.0f} | {memory:,.0f} MB |")


def write_people(path: Path, rows: int) -> int:
    """A file whose surnames repeat as surnames do: by Zipf's law; return the distinct ones."""
    import pyarrow.parquet as pq

    known = set(pq.read_table("data/clean/train.parquet")["name"].to_pylist())
    known |= set(pq.read_table("data/clean/test.parquet")["name"].to_pylist())
    base = sorted(known)
    choose = random.Random(1)
    pool = dict.fromkeys(base)
    while len(pool) < 300_000:  # the rare ones: the start of one name and the end of another
        left, right = choose.choice(base), choose.choice(base)
        pool[left[: len(left) // 2 + 1] + right[len(right) // 2 :]] = None
    names = np.array(list(pool), dtype=object)
    numbers = np.random.default_rng(1)
    numbers.shuffle(names)
    shares = 1 / (np.arange(len(names)) + 3.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    seen = np.zeros(len(names), dtype=bool)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "surname", "city"])
        for start in range(0, rows, 100_000):
            ranks = numbers.choice(len(names), min(100_000, rows - start), p=shares / shares.sum())
            seen[ranks] = True
            out.writerows((start + n, name, "Someplace") for n, name in enumerate(names[ranks]))
    return int(seen.sum())


def measure(way: str, source: Path, args: argparse.Namespace) -> tuple[float, float]:
    """Names per second and peak memory in MB of one process."""
    if way == "onoma":
        command = [sys.executable, "-m", "stages.commands.cli", "predict", "--input", str(source)]
        command += ["--column", "surname", "--output", str(source.with_suffix(".onoma.csv"))]
    else:
        command = [sys.executable, __file__, "--way", way, "--rows", str(args.rows)]
        command += ["--folder", str(args.folder)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{way} failed")
    rate = args.rows / seconds if way == "onoma" else json.loads(said)
    return rate, usage.ru_maxrss / 1024


def svm(source: Path) -> float:
    """Names per second of the linear SVM."""
    import pandas as pd

    from stages.core.params import Params
    from stages.model.linear import linear_svm

    params = Params.load(Path("params.yaml")).baseline
    train = pd.read_parquet("data/clean/train.parquet")
    model = linear_svm(**params.model_dump())
    model.fit(train["name"], train["country"])
    start = time.perf_counter()
    people = pd.read_csv(source, keep_default_na=False)
    people["country"] = model.predict(people["surname"])
    people.to_csv(source.with_suffix(".svm.csv"), index=False)
    return len(people) / (time.perf_counter() - start)


def seed(source: Path) -> float:
    """Names per second of the notebook's model, one name at a time."""
    import torch
    from torch import nn

    class Notebook(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(128, 100)
            self.gru = nn.GRU(100, 100, 2, bidirectional=True)
            self.out = nn.Linear(200, 18)

        def forward(self, codes: torch.Tensor) -> torch.Tensor:
            _, state = self.gru(self.embed(codes).unsqueeze(1))
            return self.out(torch.cat([state[-1], state[-2]], dim=1))

    torch.set_num_threads(1)  # with one name at a time more threads are slower
    model = Notebook().eval()
    with source.open(encoding="utf-8") as file:
        names = [row["surname"] for row in itertools.islice(csv.DictReader(file), SEED_ROWS)]
    start = time.perf_counter()
    with torch.no_grad():
        for name in names:
            codes = torch.tensor([min(ord(character), 127) for character in name])
            int(model(codes).argmax())
    return len(names) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
