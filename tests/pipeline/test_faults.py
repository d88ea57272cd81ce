"""Faults in the real pipeline: told in one line, nothing lost, nothing left running."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import (
    TRAIN_STAGE,
    Start,
    contents,
    next_line,
    processes_in,
    run,
    run_stages,
    set_params,
    succeed,
    wait_until,
    write_corpus,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_stages")]


def refusal(folder: Path, *command: str) -> str:
    """The one line of a command that fails as it should."""
    done = run(folder, *command)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("onoma: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob(".checkpoints/train/*/*.pt"))


# Stopping.


def test_ctrl_c_stops_training_after_the_step_with_a_checkpoint(
    project: Path, start: Start
) -> None:
    set_params(project, train__epochs=2000)
    training = start(project, *TRAIN_STAGE)
    next_line(training, "epoch 2/")
    training.send_signal(signal.SIGINT)
    _, error = training.communicate(timeout=60)
    assert training.returncode == 130
    assert error == "onoma: training stopped by SIGINT; run again to resume\n"
    assert checkpoints(project)
    next_line(start(project, *TRAIN_STAGE), "train: resuming from a checkpoint: epoch ")


def test_a_second_dvc_repro_is_told_at_once_and_a_stopped_training_fails_the_first(
    project: Path, start: Start
) -> None:
    set_params(project, train__epochs=2000, train__checkpoint_minutes=0.01)
    first = start(project, "dvc", "repro", "train")
    wait_until(lambda: checkpoints(project))
    second = run(project, "dvc", "repro", "train")
    assert second.returncode != 0
    assert "is busy, it is being blocked by" in second.stderr
    assert first.poll() is None, "it was told at once, not when the first was done"

    (training,) = (p for p in processes_in(project) if "stages.train" in p.cmdline())
    training.terminate()
    _, error = first.communicate(timeout=60)
    assert first.returncode != 0
    assert "onoma: training stopped by SIGTERM; run again to resume\n" in error
    assert "failed to reproduce 'train'" in error
    assert not processes_in(project)


# Disks.


@pytest.mark.parametrize(
    ("name", "limit", "file"),
    [
        ("train", 500_000, ".checkpoints/train/"),
        ("export", 5000, "data/onnx/model.onnx"),
        ("index", 1000, "data/index/"),
    ],
)
def test_a_full_disk_is_named_and_dvc_brings_the_outputs_back(
    name: str, limit: int, file: str, project: Path
) -> None:
    out = project / {"train": "data/model", "export": "data/onnx", "index": "data/index"}[name]
    before = contents(out)
    set_params(project, model__wide_frequent=131072)  # a checkpoint of megabytes
    shutil.rmtree(out)  # as DVC does before it runs a stage
    command = ("prlimit", f"--fsize={limit}", "python", "-m", f"stages.{name}")
    assert f"File too large: '{file}" in refusal(project, *command)
    succeed(project, "dvc", "checkout")
    assert contents(out) == before
    run_stages(project, name)  # there is nothing in the way of a new run


def test_a_read_only_data_folder_is_named(project: Path) -> None:
    # Root may write everywhere, unless that power is taken away; a forked stage keeps it.
    powerless = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    for folder in (project / "data/model", project / "data"):
        folder.chmod(0o555)
    line = refusal(project, *powerless, sys.executable, *TRAIN_STAGE[1:])
    for folder in (project / "data/model", project / "data"):
        folder.chmod(0o755)
    assert "Permission denied: '" in line and "data/model" in line


def test_ten_thousand_countries_train_to_the_end(project: Path) -> None:
    rows = [("Name" + chr(ord("à") + n % 23), f"Country {n}") for n in range(10_000)]
    write_corpus(project / "data/raw/names_train.csv.gz", rows)
    write_corpus(project / "data/raw/names_test.csv.gz", rows[::500])
    set_params(project, train__epochs=1, train__batch_size=512, ingest__header="no")
    set_params(project, model__wide_ngrams=1, model__wide_frequent=8)
    run_stages(project, "ingest", "index", "train", "evaluate")
    assert len(json.loads((project / "data/model/config.json").read_text())["countries"]) == 10_000
