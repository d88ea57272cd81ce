"""Several processes train together: the same bytes each time, and one of them may die."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import make_project, run, set_params, wait_until
from tests.forkserver import ForkServer, Stage

pytestmark = pytest.mark.slow

MODEL = "data/model/model.safetensors"
SECONDS = 120
RESUMING = "train: resuming from a checkpoint"


@pytest.fixture(scope="module")
def project(made_once: Callable[..., Path], fork_server: ForkServer) -> Path:
    """A project whose training takes some seconds, with checkpoints all along, after training.

    together.safetensors is the model of two processes that nothing disturbs.
    """

    def make(folder: Path) -> None:
        make_project(
            folder,
            train=1500,
            train__batch_size=31,  # strides of unequal size
            train__epochs=4,
            train__checkpoint_minutes=0.002,
            train__processes=2,
            model__wide_buckets=64,
        )
        for stage in ("ingest", "index"):
            assert fork_server.run(folder, stage).returncode == 0
        done = run(folder, "python", "-m", "stages.train")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\nepoch 4/4") == 1, "one process prints for all"
        assert done.stderr == ""
        shutil.copy(folder / MODEL, folder / "together.safetensors")

    return made_once("distributed", make)


@pytest.fixture(scope="module")
def together(project: Path) -> bytes:
    """The model of two processes that nothing disturbs."""
    return (project / "together.safetensors").read_bytes()


@pytest.fixture
def start(project: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give a function that starts a command in the project; it does not outlive the test."""
    shutil.rmtree(project / ".checkpoints", ignore_errors=True)
    set_params(project, train__processes=1)
    started = []

    def start(*command: str, folder: Path = project) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            # As docs/performance.md has it for torchrun on several machines.
            env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        for child in workers(process) if process.poll() is None else ():
            child.kill()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers(process: subprocess.Popen[str] | Stage) -> list[psutil.Process]:
    """The processes that train, by age."""
    children = psutil.Process(process.pid).children(recursive=True)
    ours = [c for c in children if "resource_tracker" not in " ".join(c.cmdline())]
    return sorted(ours, key=lambda child: (child.create_time(), child.pid))


def checkpoint(project: Path, process: subprocess.Popen[str] | Stage) -> None:
    """Wait for the second checkpoint, so that work is under way."""

    def under_way() -> bool:
        assert process.poll() is None, "it has ended"
        return len(list(project.glob(".checkpoints/train/*/[0-9]*"))) == 2

    wait_until(under_way, SECONDS)


def torchrun(*options: str) -> list[str]:
    """The command of one of two nodes that meet on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    rendezvous = [f"--rdzv-endpoint={address}", "--rdzv-backend=c10d", "--rdzv-id=test"]
    options = ("--nnodes=2", "--nproc-per-node=1", *rendezvous, *options)
    return ["torch.distributed.run", *options, "-m", "stages.train"]


def accuracy(project: Path) -> float:
    epochs = json.loads((project / "metrics/epochs.json").read_text(encoding="utf-8"))
    return float(list(epochs["test_accuracy"].values())[-1])


def test_another_number_of_processes_gives_the_same_accuracy(
    project: Path, together: bytes, fork_server: ForkServer
) -> None:
    of_two = accuracy(project)
    set_params(project, train__processes=1)
    alone = fork_server.run(project, "train")
    assert alone.returncode == 0, alone.stderr
    assert accuracy(project) == pytest.approx(of_two, abs=0.05)
    assert (project / MODEL).read_bytes() != together


def test_after_a_worker_s_death_and_after_sigterm_it_goes_on_to_the_same_bytes(
    project: Path, together: bytes, fork_server: ForkServer
) -> None:
    shutil.rmtree(project / ".checkpoints", ignore_errors=True)
    set_params(project, train__processes=2)
    training = fork_server.start(project, "train")
    checkpoint(project, training)
    children = workers(training)
    assert len(children) == 2
    children[-1].kill()
    assert training.wait().returncode == 1
    (line,) = training.stderr.splitlines()
    assert line.startswith("onoma: a") and line.endswith("; run again to resume")
    assert not any(child.is_running() for child in children)

    training = fork_server.start(project, "train")
    wait_until(lambda: RESUMING in training.stdout)
    children = workers(training)
    training.send_signal(signal.SIGTERM)
    assert training.wait(20).returncode == 143  # torchrun kills after 30 seconds
    assert training.stderr == "onoma: training stopped by SIGTERM; run again to resume\n"
    assert not any(child.is_running() for child in children)

    training = fork_server.run(project, "train")
    assert RESUMING in training.stdout, training.stderr
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
    changes: dict[str, object], reason: str, project: Path, fork_server: ForkServer
) -> None:
    params = project / "params.yaml"
    good = params.read_text(encoding="utf-8")
    set_params(project, **({"train__processes": 2} | changes))
    training = fork_server.run(project, "train")
    params.write_text(good, encoding="utf-8")
    assert training.returncode == 1
    (line,) = training.stderr.splitlines()
    assert line.startswith(f"onoma: {reason}")


def test_two_nodes_train_together_and_outlive_a_worker(
    project: Path, together: bytes, start: Callable[..., subprocess.Popen[str]]
) -> None:
    command = torchrun("--max-restarts=2")
    nodes = [start(*command), start(*command)]
    checkpoint(project, nodes[0])
    workers(nodes[1])[-1].kill()
    outputs = [node.communicate(timeout=SECONDS) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert RESUMING in outputs[0][0] + outputs[1][0]
    assert (project / MODEL).read_bytes() == together


def test_machines_that_would_not_train_the_same_are_told(
    project: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    other = Path(shutil.copytree(project, tmp_path / "other"))
    set_params(other, train__learning_rate=0.5)
    command = torchrun()
    nodes = [start(*command), start(*command, folder=other)]
    errors = "".join(node.communicate(timeout=SECONDS)[1] for node in nodes)
    assert all(node.returncode != 0 for node in nodes)
    assert "UserError: the processes differ in code, params.yaml, data/index" in errors
