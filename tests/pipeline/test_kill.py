"""SIGKILL at any moment, then the same bytes as if nothing had happened."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stages.core.arithmetic import AVX2
from tests.conftest import make_project, run

pytestmark = pytest.mark.slow

KILLS = 20
IN_WRITES = 8  # of these, aimed at a file that is being written

# A process that has imported what comes from elsewhere and forks: each child is a process of its
# own that runs `python -m stages.train` from the start, but for seconds of imports.
FORK_SERVER = """
import os, runpy, sys
import dvclive, fsspec, numpy, pandas, psutil, pydantic, rich.progress, ruamel.yaml
import safetensors.torch, scipy.optimize, torch, torch._inductor
sys.path.insert(0, os.getcwd())
for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        log = os.open("train.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        sys.argv = ["train"]
        try:
            runpy.run_module("stages.train", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code)
        os._exit(70)
    print("started", pid, flush=True)
    print("ended", os.waitpid(pid, 0)[1], flush=True)
"""


class Server:
    """Starts trainings in a folder, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "train.log"
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORK_SERVER],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **AVX2, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "random"},
        )

    def start(self) -> int:
        """Start a training; return its process id."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline().split()[1])

    def end(self) -> int:
        """Wait for the training's end; return its status as `os.waitpid` gives it."""
        return int(self._process.stdout.readline().split()[1])

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)


def results(folder: Path) -> dict[str, str]:
    """Digest of everything that a training leaves: the bundle, metrics and curves."""
    files = [path for top in ("data/model", "metrics") for path in (folder / top).rglob("*")]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.is_file() and path.name != "ingest.json"
    }


def forget(folder: Path) -> None:
    """What DVC does before it runs the stage again from nothing."""
    for out in ("data/model", "metrics/train", ".checkpoints"):
        shutil.rmtree(folder / out, ignore_errors=True)
    (folder / "metrics/epochs.json").unlink(missing_ok=True)


def half_written(folder: Path) -> list[Path]:
    """Temporary files of atomic writes: checkpoints, weights, JSON."""
    places = [*folder.glob(".checkpoints/train/*"), folder / "data/model", folder / "metrics"]
    return [
        entry
        for place in places
        if place.is_dir()
        for entry in place.iterdir()
        if entry.name.startswith(".")
    ]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose training takes about a second, in which it writes some 20 checkpoints.

    The tables are large for the corpus: what takes time is computing and writing, not waiting.
    """
    folder = make_project(
        tmp_path_factory.mktemp("kill") / "project",
        train=400,
        model__wide_buckets=20000,
        model__dropout=0.3,
        train__epochs=4,
        train__checkpoint_minutes=0.002,
    )
    for stage in ("ingest", "index"):
        assert run(folder, "python", "-m", f"stages.{stage}").returncode == 0
    return folder


@pytest.fixture
def server(indexed: Path) -> Iterator[Server]:
    server = Server(indexed)
    yield server
    server.close()


def test_a_training_killed_at_20_moments_ends_in_the_same_bytes(
    indexed: Path, server: Server
) -> None:
    forget(indexed)
    whole = run(indexed, "python", "-m", "stages.train")
    assert whole.returncode == 0, whole.stderr
    expected = results(indexed)
    assert {"data/model/model.safetensors", "metrics/epochs.json"} <= expected.keys()

    forget(indexed)
    server.start()
    start = time.monotonic()
    assert server.end() == 0, server.log.read_text()
    seconds = time.monotonic() - start
    assert results(indexed) == expected

    choose = random.Random(20)
    kills = resumed = cut_writes = 0
    while kills < KILLS:
        forget(indexed)
        moment = choose.random() * seconds
        start = time.monotonic()
        training = server.start()
        while time.monotonic() - start < moment:
            time.sleep(0.0005)
        if kills < IN_WRITES:  # from that moment on, the next write
            limit = start + 2 * seconds
            while not half_written(indexed) and time.monotonic() < limit:
                pass
        with suppress(ProcessLookupError):
            os.kill(training, signal.SIGKILL)
        if server.end() == 0:
            continue  # it was faster than the kill: does not count
        kills += 1
        cut_writes += bool(half_written(indexed))

        server.start()
        assert server.end() == 0, server.log.read_text()
        resumed += "resuming from a checkpoint" in server.log.read_text()
        assert results(indexed) == expected, f"kill {kills} after {moment:.3f} s"
        assert not half_written(indexed) and not (indexed / ".checkpoints/train").exists()
    print(f"{kills} kills in {seconds:.2f} s, {cut_writes} in a write, {resumed} resumed")
    assert cut_writes >= 3
    assert resumed >= 5
