"""How seconds and memory of stages grow with the corpus, and compare with another commit.

    python -m tests.benchmarks.growth --sizes 1 5 20 --rounds 3 --base ../base
    python -m tests.benchmarks.growth --sizes 1 5 --stages ingest index train evaluate predict

Sizes are millions of rows of tests/benchmarks/big_corpus.py, which stay in --folder. Each stage is
a process of its own in a project of its own; sizes take turns, and the median round counts.
With --base, a checkout of another commit runs each stage right after this one does, in a project
of its own with its own params.yaml; the last column is the CPU time of this commit divided by that
of the base. Peak memory is the highest sum over the process tree of the proportional set size (a
page that is shared counts once), sampled every 100 ms; CPU is that of all processes, as far as was
seen. train runs one epoch; predict reads ingest's Parquet and asks data/onnx.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import psutil

from tests.benchmarks import big_corpus
from tests.benchmarks.common import in_turns, print_table
from tests.conftest import ROOT, set_params

STAGES = ("ingest", "index", "train", "evaluate", "predict")
SAMPLE_SECONDS = 0.1
HEADER = ("stage", "rows", "seconds", "CPU s", "rows/s", "peak MB")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", type=float, nargs="+", default=[1, 5, 20], help="million rows")
    options.add_argument("--stages", nargs="+", choices=STAGES, default=["ingest", "index"])
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--folder", type=Path, default=Path("/tmp/onoma-growth"))
    options.add_argument("--base", type=Path, help="a checkout to compare with")
    args = options.parse_args()
    sizes = [round(size * 1e6) for size in sorted(args.sizes)]
    roots = [ROOT, *([args.base.resolve()] if args.base else [])]
    projects = {pair: make_project(*pair, args) for pair in product(sizes, roots)}
    commands = {
        (stage, rows, root): partial(measure, stage, projects[rows, root], root)
        for rows, stage, root in product(sizes, args.stages, roots)
    }
    rounds = in_turns(commands, args.rounds)
    medians = {key: np.median(figures, axis=0) for key, figures in rounds.items()}

    def table() -> Iterator[tuple[object, ...]]:
        for stage, rows in product(args.stages, sizes):
            (seconds, cpu, peak), *base = (medians[stage, rows, root] for root in roots)
            ratios = [f"{cpu / other[1]:.2f}" for other in base]
            rate = f"{rows / seconds:,.0f}"
            yield stage, f"{rows:,}", f"{seconds:.1f}", f"{cpu:.1f}", rate, f"{peak:.0f}", *ratios

    print_table([*HEADER, *(["CPU / base"] if args.base else [])], table())


def make_project(rows: int, root: Path, args: argparse.Namespace) -> Path:
    """A folder with a corpus and the checkout's parameters, ready for stages."""
    corpus = big_corpus.write(args.folder / f"corpus-{rows}", rows)
    project: Path = args.folder / f"project-{rows}{'' if root == ROOT else '-base'}"
    shutil.rmtree(project, ignore_errors=True)
    (project / "data").mkdir(parents=True)
    (project / "data/raw").symlink_to(root / "data/raw")  # evaluate reads its people
    for path in root.glob("*.yaml"):
        shutil.copy(path, project)
    set_params(
        project,
        ingest__train=corpus / "train",
        ingest__test=corpus / "test.csv",
        ingest__max_rejected=rows,
        train__epochs=1,
    )
    return project


def measure(stage: str, project: Path, root: Path) -> tuple[float, float, float]:
    """Run a stage, or predict: seconds, CPU seconds, peak MB."""
    words = f"stages.{stage}"
    if stage == "predict":
        words = "stages.commands.cli predict --input data/clean/train.parquet"
        words += f" --output answers.parquet --prefix our_ --model {root / 'data/onnx'}"
    peak = 0.0
    cpu: dict[int, float] = {}
    start = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, "-m", *words.split()],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None:
        memory = 0.0
        for member in family(process):
            try:
                used, times = member.memory_full_info(), member.cpu_times()
            except psutil.Error:  # it has just ended
                continue
            memory += getattr(used, "pss", used.uss)
            cpu[member.pid] = times.user + times.system
        peak = max(peak, memory)
        time.sleep(SAMPLE_SECONDS)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{words} failed in {project}")
    return seconds, sum(cpu.values()), peak / 1e6


def family(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


if __name__ == "__main__":
    main()
