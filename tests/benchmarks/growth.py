"""How seconds and memory grow with the corpus, per stage, compared with a bare pandas.read_csv.

    python -m tests.benchmarks.growth --sizes 1 5 20 --rounds 3 --json growth.json
    python -m tests.benchmarks.growth --rounds 3 --base ../base
    python -m tests.benchmarks.growth --sizes 1 5 --stages ingest index train evaluate predict

Sizes are millions of rows of tests/benchmarks/big_corpus.py, which stay in --folder. Each stage is
a process of its own in a project of its own; sizes take turns, and the median round counts.
With --base, a checkout of another commit runs each stage right after this one does, in a project
of its own with its own params.yaml; its stages are called "base ingest" and so on, and the last
column is the time of this commit divided by that of the base.

- seconds: from start to end of the process. CPU: of all its processes, as far as was seen.
- peak: the highest sum over the process tree, sampled every 100 ms, of the proportional set size
  (a page that is shared counts once) and, in brackets, of the resident set size.
- pandas: `read_csv(FILE, header=None, names=["name", "country"], chunksize=2**18)`, told to go on
  after rows with too many fields and bytes that are not UTF-8, which ingest refuses.
- train runs one epoch; predict reads ingest's Parquet and asks data/onnx.
"""

import argparse
import json
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

STAGES = ("pandas", "ingest", "index", "train", "evaluate", "predict")
SAMPLE_SECONDS = 0.1
PANDAS = """
import sys, pandas as pd
for path in sys.argv[1:]:
    for chunk in pd.read_csv(path, header=None, names=["name", "country"], chunksize=2**18,
                             on_bad_lines="skip", encoding_errors="replace"):
        pass
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--sizes", type=float, nargs="+", default=[1, 5, 20], help="million rows")
    options.add_argument(
        "--stages", nargs="+", choices=STAGES, default=["pandas", "ingest", "index"]
    )
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--processes", type=int, default=2, help="ingest.processes")
    options.add_argument("--shards", type=int, default=1)
    options.add_argument("--gzip", action="store_true")
    options.add_argument("--folder", type=Path, default=Path("/tmp/onoma-growth"))
    options.add_argument("--base", type=Path, help="a checkout to compare with")
    options.add_argument("--json", type=Path)
    args = options.parse_args()
    sizes = [round(size * 1e6) for size in sorted(args.sizes)]
    checkouts = {"": ROOT} | ({"base ": args.base.resolve()} if args.base else {})
    projects = {
        rows: {name: make_project(rows, args, root, name) for name, root in checkouts.items()}
        for rows in sizes
    }
    rounds: dict[tuple[str, int], list[dict[str, float]]] = {}
    for number in range(args.rounds):
        for rows, of_checkout in projects.items():
            for stage in args.stages:
                for name, root in checkouts.items():
                    if name and stage == "pandas":
                        continue
                    found = measure(
                        command(stage, of_checkout[name], root), of_checkout[name], root
                    )
                    rounds.setdefault((name + stage, rows), []).append(found)
                    print(f"round {number + 1}: {name}{stage}: {rows:,}: {found}", file=sys.stderr)
    results = [
        {"stage": stage, "rows": rows, **median(found)}
        for (stage, rows), found in sorted(rounds.items(), key=lambda item: item[0])
    ]
    if {"ingest", "index"} <= {*args.stages}:
        results += [together(results, rows, name) for name in checkouts for rows in sizes]
    print(table(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def make_project(rows: int, args: argparse.Namespace, root: Path, name: str) -> Path:
    """A folder with a corpus and the checkout's parameters, ready for stages."""
    kind = f"{rows}-{args.shards}{'-gzip' * args.gzip}"
    corpus = big_corpus.write(args.folder / f"corpus-{kind}", rows, args.shards, args.gzip)
    project: Path = args.folder / f"{name.strip()}project-{kind}"
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
    (project / "corpus").symlink_to(corpus.resolve())
    return project


def command(stage: str, project: Path, root: Path) -> list[str]:
    if stage == "pandas":
        files = sorted(map(str, (project / "corpus/train").iterdir()))
        return [sys.executable, "-c", PANDAS, *files]
    if stage == "predict":
        words = "predict --input data/clean/train.parquet --output answers.parquet --prefix our_"
        words += f" --model {root / 'data/onnx'}"
        return [sys.executable, "-m", "stages.commands.cli", *words.split()]
    return [sys.executable, "-m", f"stages.{stage}"]


def measure(command: list[str], project: Path, root: Path) -> dict[str, float]:
    """Run a command; seconds, CPU seconds and peak memory in MB of all its processes."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    pss = rss = 0.0
    cpu: dict[int, float] = {}
    start = time.perf_counter()
    process = psutil.Popen(command, cwd=project, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        sample = [0.0, 0.0]
        for member in [process, *children(process)]:
            try:
                memory = member.memory_full_info()
                times = member.cpu_times()
            except psutil.Error:  # it has just ended
                continue
            sample[0] += getattr(memory, "pss", memory.uss)
            sample[1] += memory.rss
            cpu[member.pid] = times.user + times.system
        pss, rss = max(pss, sample[0]), max(rss, sample[1])
        time.sleep(SAMPLE_SECONDS)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed in {project}")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(sum(cpu.values()), 2),
        "peak_mb": round(pss / 1e6),
        "peak_rss_mb": round(rss / 1e6),
    }


def children(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def median(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}


def together(results: list[dict], rows: int, name: str) -> dict:
    """Ingest and index as one: the sum of their times, the higher of their peaks."""
    stages = (f"{name}ingest", f"{name}index")
    parts = [r for r in results if r["stage"] in stages and r["rows"] == rows]
    joined = {"stage": f"{name}ingest + index", "rows": rows}
    for key in parts[0].keys() - joined.keys():
        values = [part[key] for part in parts]
        joined[key] = max(values) if key.startswith("peak") else round(sum(values), 2)
    return joined


def table(results: list[dict]) -> str:
    seconds_of = {(r["stage"], r["rows"]): r["seconds"] for r in results}
    lines = [
        "| stage | rows | seconds | CPU s | rows/s | peak MB | / pandas | / base | cost per row |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for stage in dict.fromkeys(result["stage"] for result in results):
        mine = [result for result in results if result["stage"] == stage]
        smallest = mine[0]["seconds"] / mine[0]["rows"]
        for result in mine:
            rows, seconds = result["rows"], result["seconds"]
            ratios = [
                f"{seconds / seconds_of[other]:.2f}" if other in seconds_of else ""
                for other in (("pandas", rows), (f"base {stage}", rows))
            ]
            lines.append(
                f"| {stage} | {rows:,} | {seconds:.1f} | {result['cpu_seconds']:.1f} "
                f"| {rows / seconds:,.0f} | {result['peak_mb']:.0f} ({result['peak_rss_mb']:.0f}) "
                f"| {' | '.join(ratios)} | {seconds / rows / smallest:.2f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
