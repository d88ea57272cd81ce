"""How much faster two processes train than one, each with one thread, and whether as well.

    python tests/benchmarks/train_processes.py --rows 1000000 --rounds 3

Trains an epoch of the default recipe with larger steps (see SETTINGS) on the corpus of
tests/benchmarks/big_corpus.py; the numbers of processes take turns. Prints the names per second
that the stage says of its epoch, the accuracy on the test names, and what one step's gradients are
in bytes.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import big_corpus  # noqa: E402
from tests.conftest import set_params  # noqa: E402

SETTINGS = {
    "train__epochs": 1,
    "train__batch_size": 8192,
    "train__learning_rate": 0.01,
    "train__threads": 1,
    "train__checkpoint_minutes": 60.0,
}


def main() -> None:
    """Prepare a project; train in turn; print the table."""
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    options.add_argument("--folder", type=Path, default=Path("/tmp/onoma-processes"))
    args = options.parse_args()
    project = prepare(args.folder, args.rows)
    rates: dict[int, list[float]] = {count: [] for count in args.processes}
    scores: dict[int, float] = {}
    for number in range(args.rounds):
        for count in args.processes:
            rate, scores[count] = train(project, count)
            rates[count].append(rate)
            print(f"round {number + 1}: {count}: {rate:,.0f} names/s", flush=True)
    weights = (project / "data/model/model.safetensors").stat().st_size
    print(f"\n{args.rows:,} rows, median of {args.rounds}; {weights:,} bytes of gradients a step\n")
    print("| processes | names/s | speed-up | accuracy |\n|---:|---:|---:|---:|")
    base = statistics.median(rates[args.processes[0]])
    for count, found in rates.items():
        rate = statistics.median(found)
        print(f"| {count} | {rate:,.0f} | {rate / base:.2f} | {scores[count]:.4f} |")


def prepare(folder: Path, rows: int) -> Path:
    """A project with an index of so many rows."""
    corpus = big_corpus.write(folder / f"corpus-{rows}", rows)
    project = folder / "project"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", project)
    set_params(
        project,
        ingest__train=(corpus / "train").resolve(),
        ingest__test=(corpus / "test.csv").resolve(),
        ingest__max_rejected=rows,
        **SETTINGS,
    )
    for stage in ("ingest", "index"):
        run(project, stage)
    return project


def train(project: Path, processes: int) -> tuple[float, float]:
    """Names per second of the epoch, and the test accuracy after it."""
    set_params(project, train__processes=processes)
    said = run(project, "train")
    rate = re.search(r"epoch 1/1: .*, ([\d,]+) names/s", said)
    assert rate, said
    epochs = json.loads((project / "metrics/epochs.json").read_text(encoding="utf-8"))
    return float(rate[1].replace(",", "")), epochs["test_accuracy"]["01"]


def run(project: Path, stage: str) -> str:
    """Run a stage; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", f"stages.{stage}"]
    done = subprocess.run(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{stage} failed")
    return done.stdout


if __name__ == "__main__":
    main()
