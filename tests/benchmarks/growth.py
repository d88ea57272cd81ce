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
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.benchmarks import big_corpus
from tests.conftest import ROOT, set_params

STAGES = ("ingest", "index", "train", "evaluate", "predict")
SAMPLE_SECONDS = 0.1
Figures = tuple[float, float, float]
"""Seconds, CPU seconds, peak MB."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", type=float, nargs="+", default=[1, 5, 20], help="million rows")
    options.add_argument("--stages", nargs="+", choices=STAGES, default=["ingest", "index"])
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--processes", type=int, default=2, help="ingest.processes")
    options.add_argument("--folder", type=Path, default=Path("/tmp/onoma-growth"))
    options.add_argument("--base", type=Path, help="a checkout to compare with")
    args = options.parse_args()
    sizes = [round(size * 1e6) for size in sorted(args.sizes)]
    checkouts = [ROOT, *([args.base.resolve()] if args.base else [])]
    projects = {
        (rows, root): make_project(rows, args, root) for rows in sizes for root in checkouts
    }
    found: dict[tuple[str, int, Path], list[Figures]] = {}
    for _ in range(args.rounds):
        for rows in sizes:
            for stage in args.stages:
                for root in checkouts:
                    figures = measure(command(stage, root), projects[rows, root], root)
                    found.setdefault((stage, rows, root), []).append(figures)
                    print(f"{root}: {stage}, {rows:,} rows: {figures}", file=sys.stderr)
    medians = {
        key: [statistics.median(column) for column in zip(*rounds, strict=True)]
        for key, rounds in found.items()
    }
    print("| stage | rows | seconds | CPU s | rows/s | peak MB | CPU / base |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for stage in args.stages:
        for rows in sizes:
            seconds, cpu, peak = medians[stage, rows, ROOT]
            ratio = f"{cpu / medians[stage, rows, checkouts[1]][1]:.2f}" if args.base else ""
            print(
                f"| {stage} | {rows:,} | {seconds:.1f} | {cpu:.1f} | {rows / seconds:,.0f} "
                f"| {peak:.0f} | {ratio} |"
            )


def make_project(rows: int, args: argparse.Namespace, root: Path) -> Path:
    """A folder with a corpus and the checkout's parameters, ready for stages."""
    corpus = big_corpus.write(args.folder / f"corpus-{rows}", rows)
    project: Path = args.folder / f"project-{rows}{'' if root == ROOT else '-base'}"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    for path in root.glob("*.yaml"):
        (project / path.name).write_bytes(path.read_bytes())
    set_params(
        project,
        ingest__train=corpus / "train",
        ingest__test=corpus / "test.csv",
        ingest__max_rejected=rows,
        ingest__processes=args.processes,
        train__epochs=1,
    )
    return project


def command(stage: str, root: Path) -> list[str]:
    if stage == "predict":
        words = "predict --input data/clean/train.parquet --output answers.parquet --prefix our_"
        words += f" --model {root / 'data/onnx'}"
        return [sys.executable, "-m", "stages.commands.cli", *words.split()]
    return [sys.executable, "-m", f"stages.{stage}"]


def measure(command: list[str], project: Path, root: Path) -> Figures:
    """Run a command."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    peak = 0.0
    cpu: dict[int, float] = {}
    start = time.perf_counter()
    process = psutil.Popen(command, cwd=project, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        memory = 0.0
        for member in [process, *children(process)]:
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
        sys.exit(f"{' '.join(command)} failed in {project}")
    return round(seconds, 2), round(sum(cpu.values()), 2), round(peak / 1e6)


def children(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


if __name__ == "__main__":
    main()
