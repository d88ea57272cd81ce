"""Faults in the real pipeline: told in one line, nothing lost, nothing left running."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import git, make_project, run, set_params, wait_until, write_corpus
from tests.forkserver import ForkServer, Stage

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_stages")]

LONG = {"train__epochs": 2000, "train__checkpoint_minutes": 0.01}


@pytest.fixture(scope="module")
def built(made_once: Callable[..., Path], forked_stages: None) -> Path:
    """A toy project after `dvc repro`, committed: what a fault must not hurt."""

    def make(folder: Path) -> None:
        # A model of megabytes, for the disk to be full in the midst of it.
        make_project(folder, train=200, test=60, model__wide_buckets=131072)
        done = run(folder, "dvc", "repro", "train", "export")
        assert done.returncode == 0, done.stdout + done.stderr
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message=results")

    return made_once("faults", make)


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy of it, to be hurt."""
    return Path(shutil.copytree(built, tmp_path / "project", symlinks=True))


def one_line(done: Stage | subprocess.CompletedProcess[str]) -> str:
    """What a stage that failed as it should said."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("onoma: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob(".checkpoints/train/*/*.pt"))


def trainings(folder: Path) -> list[psutil.Process]:
    """Training processes that work in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if "stages.train" in process.cmdline() and process.cwd() == str(folder.resolve()):
                found.append(process)
        except psutil.Error:
            continue
    return found


# Stopping.


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_training_after_the_step_with_a_checkpoint(
    number: signal.Signals, status: int, project: Path, fork_server: ForkServer
) -> None:
    set_params(project, train__epochs=2000)
    training = fork_server.start(project, "train")
    wait_until(lambda: "epoch 2/" in training.stdout)
    training.send_signal(number)
    assert training.wait().returncode == status
    assert training.stderr == f"onoma: training stopped by {number.name}; run again to resume\n"
    assert checkpoints(project)
    again = fork_server.start(project, "train")
    wait_until(lambda: "train: resuming from a checkpoint: epoch " in again.stdout)
    again.send_signal(signal.SIGKILL)


def test_dvc_reports_a_stopped_training_as_failed(project: Path) -> None:
    set_params(project, **LONG)
    repro = start(project, "dvc", "repro", "train")
    wait_until(lambda: checkpoints(project))
    for training in trainings(project):
        training.terminate()
    _, error = repro.communicate(timeout=60)
    assert repro.returncode != 0
    assert "failed to reproduce 'train'" in error
    assert not trainings(project)


def test_nan_stops_with_epoch_and_batch_and_keeps_the_last_good_checkpoint(
    project: Path, fork_server: ForkServer
) -> None:
    set_params(project, train__learning_rate=1e30, train__schedule="constant")
    set_params(project, train__checkpoint_minutes=1e-9)  # after each batch
    stopped = re.compile(r"the loss is nan in epoch 1, batch \d+; lower train.learning_rate")
    first = one_line(fork_server.run(project, "train"))
    assert stopped.search(first) and checkpoints(project)
    again = fork_server.run(project, "train")
    assert "resuming from a checkpoint: epoch 1, batch " in again.stdout
    assert one_line(again) == first


def test_a_damaged_checkpoint_is_told_and_the_previous_one_used(
    project: Path, fork_server: ForkServer
) -> None:
    set_params(project, **LONG)
    training = fork_server.start(project, "train")
    wait_until(lambda: len(checkpoints(project)) == 2)
    training.send_signal(signal.SIGTERM)
    training.wait()
    last = max(checkpoints(project))
    last.write_bytes(last.read_bytes()[:-1])
    again = fork_server.start(project, "train")
    wait_until(lambda: again.stdout.count("\n") >= 3)
    again.send_signal(signal.SIGKILL)
    lines = again.stdout.splitlines()
    assert lines[1] == f"train: {last.relative_to(project)} is damaged: removed"
    assert lines[2].startswith("train: resuming from a checkpoint: epoch ")


# Disks.


@pytest.mark.parametrize("name", ["train", "export"])
def test_a_full_disk_is_named_and_dvc_brings_the_outputs_back(
    name: str, project: Path, fork_server: ForkServer
) -> None:
    out = project / {"train": "data/model", "export": "data/onnx"}[name]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    shutil.rmtree(out)  # as DVC does before it runs a stage
    line = one_line(fork_server.run(project, name, file_limit=500_000))
    file = {"train": ".checkpoints/train/", "export": "data/onnx/model.onnx"}[name]
    assert f"File too large: '{file}" in line
    done = run(project, "dvc", "checkout")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    again = fork_server.run(project, name)
    assert again.returncode == 0, "and there is nothing in the way of a new run"


def test_a_full_disk_fails_index_in_one_line(project: Path, fork_server: ForkServer) -> None:
    line = one_line(fork_server.run(project, "index", file_limit=1000))
    assert "File too large: " in line and "data/index" in line


def test_a_read_only_data_folder_is_named(project: Path) -> None:
    # Root may write everywhere, unless that power is taken away.
    powerless = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    for folder in (project / "data/model", project / "data"):
        folder.chmod(0o555)
    done = run(project, *powerless, sys.executable, "-m", "stages.train")
    for folder in (project / "data/model", project / "data"):
        folder.chmod(0o755)
    assert "Permission denied: '" in one_line(done) and "data/model" in done.stderr


# Odd corpora.


def corpus(folder: Path, train: list[tuple[str, str]], test: list[tuple[str, str]]) -> None:
    write_corpus(folder / "data/raw/names_train.csv.gz", train)
    write_corpus(folder / "data/raw/names_test.csv.gz", test)


def test_ten_thousand_countries_train_to_the_end(project: Path, fork_server: ForkServer) -> None:
    rows = [("Name" + chr(ord("à") + n % 23), f"Country {n}") for n in range(10_000)]
    corpus(project, rows, rows[::500])
    set_params(project, train__epochs=1, train__batch_size=512, ingest__header="no")
    set_params(project, model__wide_ngrams=1, model__wide_buckets=8)
    for name in ("ingest", "index", "train", "evaluate"):
        done = fork_server.run(project, name)
        assert done.returncode == 0, done.stderr
    assert len(json.loads((project / "data/model/config.json").read_text())["countries"]) == 10_000


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "names_train.csv.gz: holds no usable row of name,country"),
        ([("", "Italy")] * 3, "more than 2 rows are refused (ingest.max_rejected), the first in "),
        ([("", "Italy")] * 2, "line 1: empty name"),
    ],
)
def test_a_corpus_without_use_is_refused_and_the_clean_data_stay(
    rows: list[tuple[str, str]], words: str, project: Path, fork_server: ForkServer
) -> None:
    set_params(project, ingest__max_rejected=2)
    before = (project / "data/clean/train.parquet").read_bytes()
    corpus(project, rows, [("Verdi", "Italy")])
    assert words in one_line(fork_server.run(project, "ingest"))
    assert (project / "data/clean/train.parquet").read_bytes() == before


def test_rows_of_the_test_file_in_unknown_countries_are_listed(
    project: Path, fork_server: ForkServer
) -> None:
    train = [("Rossi", "Italy"), ("Russo", "Italy"), ("Müller", "Germany")]
    corpus(project, train, [("Verdi", "Italy"), ("Diop", "Chad")])
    assert fork_server.run(project, "ingest").returncode == 0
    rejected = (project / "data/clean/rejected.csv").read_text().splitlines()
    assert rejected == [
        "file,line,reason",
        "data/raw/names_test.csv.gz,2,country not in the training data",
    ]


# Two at once.


def test_a_second_dvc_repro_is_told_at_once_and_hurts_nothing(project: Path) -> None:
    set_params(project, train__epochs=15)
    first = start(project, "dvc", "repro", "train")
    wait_until(lambda: trainings(project))
    second = run(project, "dvc", "repro", "train")
    assert second.returncode != 0
    assert "is busy, it is being blocked by" in second.stderr
    assert first.poll() is None, "it was told at once, not when the first was done"
    _, error = first.communicate(timeout=120)
    assert first.returncode == 0, error
    assert run(project, "dvc", "status", "train").stdout.strip().endswith("up to date.")
