"""Several processes train together: the same bytes each time, and one of them may die."""

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import (
    ENVIRONMENT,
    TRAIN_STAGE,
    Start,
    make_project,
    next_line,
    processes_in,
    run,
    run_stages,
    set_params,
    succeed,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_stages")]

MODEL = "data/model/model.safetensors"
SECONDS = 120
RESUMING = "train: resuming from a checkpoint"


@pytest.fixture(scope="module")
def trained(made_once: Callable[..., Path], forked_stages: None) -> Path:
    """A project after some seconds of training by two processes, which are not forked."""

    def make(folder: Path) -> None:
        make_project(
            folder,
            train=1500,
            train__batch_size=31,  # strides of unequal size
            train__epochs=4,
            train__checkpoint_minutes=0.002,
            train__processes=2,
            model__wide_frequent=64,
            model__wide_rare=64,
        )
        run_stages(folder, "ingest", "index")
        done = run(folder, *TRAIN_STAGE, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\nepoch 4/4") == 1, "one process prints for all"
        assert done.stderr == ""

    return made_once("distributed", make)


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project"))


@pytest.fixture
def together(trained: Path) -> bytes:
    """The model of two processes that nothing disturbs."""
    return (trained / MODEL).read_bytes()


def workers(project: Path) -> list[psutil.Process]:
    """The processes that train, by age."""
    return [process for process in processes_in(project) if "-u" in process.cmdline()]


def wait_for_checkpoints(project: Path, process: subprocess.Popen[str]) -> None:
    """Wait for the second checkpoint, so that work is under way."""

    def under_way() -> bool:
        assert process.poll() is None, "it has ended"
        return len(list(project.glob(".checkpoints/train/*/[0-9]*"))) == 2

    wait_until(under_way, SECONDS)


def start_nodes(start: Start, *folders: Path) -> list[subprocess.Popen[str]]:
    """Start torchrun on two nodes that meet on this machine; each restarts its worker twice."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    rendezvous = (f"--rdzv-endpoint={address}", "--rdzv-backend=c10d", "--rdzv-id=test")
    options = ("--nnodes=2", "--nproc-per-node=1", "--max-restarts=2", *rendezvous)
    command = ("python", "-m", "torch.distributed.run", *options, *TRAIN_STAGE[1:])
    return [start(folder, *command) for folder in folders]


def accuracy(project: Path) -> float:
    epochs = json.loads((project / "metrics/epochs.json").read_text(encoding="utf-8"))
    return float(list(epochs["test_accuracy"].values())[-1])


def test_another_number_of_processes_gives_the_same_accuracy(
    project: Path, together: bytes
) -> None:
    of_two = accuracy(project)
    set_params(project, train__processes=1)
    succeed(project, *TRAIN_STAGE)
    assert accuracy(project) == pytest.approx(of_two, abs=0.05)
    assert (project / MODEL).read_bytes() != together


def test_after_a_worker_s_death_and_after_sigterm_it_goes_on_to_the_same_bytes(
    project: Path, together: bytes, start: Start
) -> None:
    training = start(project, *TRAIN_STAGE)
    wait_for_checkpoints(project, training)
    assert len(workers(project)) == 2
    workers(project)[-1].kill()
    _, error = training.communicate(timeout=SECONDS)
    assert training.returncode == 1
    assert error.startswith("onoma: a") and error.endswith("; run again to resume\n")
    assert error.count("\n") == 1
    assert not processes_in(project)

    training = start(project, *TRAIN_STAGE)
    next_line(training, RESUMING)
    training.send_signal(signal.SIGTERM)
    _, error = training.communicate(timeout=20)  # torchrun kills after 30 seconds
    assert training.returncode == 143
    assert error == "onoma: training stopped by SIGTERM; run again to resume\n"
    assert not processes_in(project)

    done = run(project, *TRAIN_STAGE)
    assert RESUMING in done.stdout, done.stderr
    assert (project / MODEL).read_bytes() == together
    assert not (project / ".checkpoints/train").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train__learning_rate": 1e30}, "the loss is"),
        ({"train__device": "mps"}, "train.device: mps is not on this machine"),
    ],
)
def test_an_error_of_all_processes_is_told_once(
    changes: dict[str, object], reason: str, project: Path
) -> None:
    set_params(project, **changes)
    training = run(project, *TRAIN_STAGE)
    assert training.returncode == 1
    (line,) = training.stderr.splitlines()
    assert line.startswith(f"onoma: {reason}")


@pytest.fixture
def one_process(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project for torchrun on several machines, as docs/performance.md has it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    set_params(project, train__processes=1)
    return project


def test_two_nodes_train_together_and_outlive_a_worker(
    one_process: Path, together: bytes, start: Start
) -> None:
    nodes = start_nodes(start, one_process, one_process)
    wait_for_checkpoints(one_process, nodes[0])
    workers(one_process)[-1].kill()
    outputs = [node.communicate(timeout=SECONDS) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert RESUMING in outputs[0][0] + outputs[1][0]
    assert (one_process / MODEL).read_bytes() == together


def test_machines_that_would_not_train_the_same_are_told(
    one_process: Path, tmp_path: Path, start: Start
) -> None:
    other = Path(shutil.copytree(one_process, tmp_path / "other"))
    set_params(other, train__learning_rate=0.5)
    nodes = start_nodes(start, one_process, other)
    errors = "".join(node.communicate(timeout=SECONDS)[1] for node in nodes)
    assert all(node.returncode != 0 for node in nodes)
    assert "UserError: the processes differ in code, params.yaml, data/index" in errors
