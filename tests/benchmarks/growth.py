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

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import psutil

from tests.benchmarks import big_corpus
from tests.benchmarks.common import in_turns, options, print_table
from tests.conftest import ROOT, set_params

SAMPLE_SECONDS = 0.1
HEADER = ("stage", "rows", "seconds", "CPU s", "rows/s", "peak MB")


def main() -> None:
    settings = {"sizes": [1.0, 5.0, 20.0], "stages": ["ingest", "index"], "rounds": 1}
    settings |= {"folder": Path("/tmp/onoma-growth"), "base": Path}
    args = options(__doc__, **settings).parse_args()
    sizes = [round(size * 1e6) for size in sorted(args.sizes)]
    roots = [ROOT, *([args.base.resolve()] if args.base else [])]
    projects = {pair: make_project(*pair, args.folder) for pair in product(sizes, roots)}
    commands = {
        (stage, rows, root): partial(measure, stage, projects[rows, root], root)
        for rows, stage, root in product(sizes, args.stages, roots)
    }
    figures = in_turns(commands, args.rounds)
    table = []
    for stage, rows in product(args.stages, sizes):
        medians = [np.median(figures[stage, rows, root], axis=0) for root in roots]
        seconds, cpu, peak = medians[0]
        ratios = [f"{cpu / base[1]:.2f}" for base in medians[1:]]
        cells = f"{rows:,}", f"{seconds:.1f}", f"{cpu:.1f}", f"{rows / seconds:,.0f}", f"{peak:.0f}"
        table.append((stage, *cells, *ratios))
    print_table([*HEADER, *(["CPU / base"] if args.base else [])], table)


def make_project(rows: int, root: Path, folder: Path) -> Path:
    """A folder with a corpus and the checkout's parameters, ready for stages."""
    corpus = big_corpus.write(folder / f"corpus-{rows}", rows)
    project = folder / f"project-{rows}{'' if root == ROOT else '-base'}"
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
        memory, members = 0.0, [process]
        with suppress(psutil.Error):  # it has just ended
            members += process.children(recursive=True)
        for member in members:
            with suppress(psutil.Error):
                used, times = member.memory_full_info(), member.cpu_times()
                memory += getattr(used, "pss", used.uss)
                cpu[member.pid] = times.user + times.system
        peak = max(peak, memory)
        time.sleep(SAMPLE_SECONDS)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{words} failed in {project}")
    return seconds, sum(cpu.values()), peak / 1e6


if __name__ == "__main__":
    main()
