"""SIGKILL at any moment, then the same bytes as if nothing had happened."""

import random
import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import (
    TRAIN_STAGE,
    Start,
    contents,
    make_project,
    processes_in,
    run_stages,
    succeed,
)

pytestmark = [pytest.mark.slow(seconds=20), pytest.mark.usefixtures("forked_stages")]

KILLS = 5  # of each kind


def forget(folder: Path) -> None:
    """What DVC does before it runs the stage again from nothing."""
    for out in ("data/model", "metrics/train", ".checkpoints"):
        shutil.rmtree(folder / out, ignore_errors=True)
    (folder / "metrics/epochs.json").unlink(missing_ok=True)


def half_written(folder: Path) -> list[Path]:
    """Temporary files of atomic writes: checkpoints, weights, JSON."""
    folders = [*folder.glob(".checkpoints/train/*"), folder / "data/model", folder / "metrics"]
    return [path for each in folders for path in each.glob(".*.tmp")]


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """A project whose training takes about a second, in which it writes some 20 checkpoints.

    The tables are large for the corpus: what takes time is computing and writing, not waiting.
    """
    folder = make_project(
        tmp_path / "project",
        train=300,
        model__wide_frequent=20000,
        model__dropout=0.3,
        train__epochs=4,
        train__checkpoint_minutes=0.002,
    )
    run_stages(folder, "ingest", "index")
    return folder


@pytest.mark.parametrize("kind", ["at any moment", "in a write"])
def test_a_killed_training_ends_in_the_same_bytes(kind: str, indexed: Path, start: Start) -> None:
    begun = time.monotonic()
    succeed(indexed, *TRAIN_STAGE)
    seconds = time.monotonic() - begun
    results = indexed / "data/model", indexed / "metrics"
    expected = contents(*results)
    written = {Path(path).name for path in expected}
    assert {"model.safetensors", "epochs.json"} <= written

    choose = random.Random(20)
    kills = resumed = cut_writes = 0
    # On a busy machine all of the first moments may be before a checkpoint.
    while kills < KILLS or (not resumed and kills < 4 * KILLS):
        forget(indexed)
        moment = (kills % KILLS + choose.random()) / KILLS * seconds  # from its start to its end
        begun = time.monotonic()
        training = start(indexed, *TRAIN_STAGE)
        while time.monotonic() - begun < moment:
            time.sleep(0.0005)
        youngest = processes_in(indexed)[-1:]  # what the command has forked
        if kind == "in a write":  # the next one from that moment on
            while not half_written(indexed) and time.monotonic() < begun + 2 * seconds:
                pass
        for process in youngest:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        training.communicate()
        if training.returncode == 0:
            seconds *= 0.9  # it was faster than the kill: does not count
            continue
        kills += 1
        cut_writes += bool(half_written(indexed))

        again = succeed(indexed, *TRAIN_STAGE)
        resumed += "resuming from a checkpoint" in again
        assert contents(*results) == expected, f"kill {kills} after {moment:.3f} s"
        assert not half_written(indexed) and not (indexed / ".checkpoints/train").exists()
    print(f"{kills} kills in {seconds:.2f} s, {cut_writes} in a write, {resumed} resumed")
    assert resumed
    assert cut_writes >= 2 or kind != "in a write"
