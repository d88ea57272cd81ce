"""Several processes train together: the same bytes each time, and one of them may die."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import make_project, run, set_params

pytestmark = pytest.mark.slow

MODEL = "data/model/model.safetensors"
SECONDS = 120


@pytest.fixture(scope="module")
def project(made_once: Callable[..., Path]) -> Path:
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
        for stage in ("ingest", "index", "train"):
            done = run(folder, "python", "-m", f"stages.{stage}")
            assert done.returncode == 0, done.stderr
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
    started = []

    def start(*command: str, folder: Path = project) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if command[0] == "torch.distributed.run":  # as docs/scale.md has it
            environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started, too
        process.communicate()


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that train, by age."""
    children = psutil.Process(process.pid).children(recursive=True)
    ours = [c for c in children if "resource_tracker" not in " ".join(c.cmdline())]
    return sorted(ours, key=lambda child: (child.create_time(), child.pid))


def checkpoint(project: Path, process: subprocess.Popen[str]) -> None:
    """Wait for the second checkpoint, so that work is under way."""
    limit = time.monotonic() + SECONDS
    while len(list(project.glob(".checkpoints/train/*/[0-9]*"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.01)


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


def test_a_number_of_processes_gives_the_same_bytes_and_another_the_same_accuracy(
    project: Path, together: bytes
) -> None:
    scores = {}
    for processes in (1, 2, 3):
        set_params(project, train__processes=processes)
        done = run(project, "python", "-m", "stages.train")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\nepoch 4/4") == 1, "one process prints for all"
        scores[processes] = accuracy(project)
        assert ((project / MODEL).read_bytes() == together) == (processes == 2)
    assert max(scores.values()) - min(scores.values()) < 0.05, scores


def test_after_the_death_of_a_worker_the_run_ends_in_the_same_bytes(
    project: Path, together: bytes, start: Callable[..., subprocess.Popen[str]]
) -> None:
    set_params(project, train__processes=2)
    training = start("stages.train")
    checkpoint(project, training)
    workers(training)[-1].kill()
    output, errors = training.communicate(timeout=SECONDS)
    assert training.returncode == 0, errors
    assert "resuming from a checkpoint" in output
    assert (project / MODEL).read_bytes() == together
    assert not (project / ".checkpoints/train").exists()


def test_a_stopped_training_leaves_no_process_and_goes_on_later(
    project: Path, together: bytes, start: Callable[..., subprocess.Popen[str]]
) -> None:
    set_params(project, train__processes=2)
    training = start("stages.train")
    checkpoint(project, training)
    children = workers(training)
    training.send_signal(signal.SIGTERM)
    _, errors = training.communicate(timeout=20)  # torchrun kills after 30 seconds
    assert training.returncode == 1
    assert errors == "onoma: training stopped by SIGTERM; run again to resume\n"
    assert not any(child.is_running() for child in children)
    done = run(project, "python", "-m", "stages.train")
    assert "resuming from a checkpoint" in done.stdout
    assert (project / MODEL).read_bytes() == together


def test_workers_end_with_their_launcher(
    project: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    set_params(project, train__processes=2)
    training = start("stages.train")
    checkpoint(project, training)
    children = workers(training)
    assert len(children) == 2
    training.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_an_error_that_comes_again_is_told_once(project: Path) -> None:
    params = project / "params.yaml"
    good = params.read_text(encoding="utf-8")
    for changes, reason in (
        ({"train__learning_rate": 1e30}, "the loss is"),
        ({"train__device": "mps"}, "train.device"),
    ):
        set_params(project, **({"train__processes": 2} | changes))
        done = run(project, "python", "-m", "stages.train")
        params.write_text(good, encoding="utf-8")
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("onoma: ") and reason in line


def test_two_nodes_train_together_and_outlive_a_worker(
    project: Path, together: bytes, start: Callable[..., subprocess.Popen[str]]
) -> None:
    set_params(project, train__processes=1)
    command = torchrun("--max-restarts=2")
    nodes = [start(*command), start(*command)]
    checkpoint(project, nodes[0])
    workers(nodes[1])[-1].kill()
    outputs = [node.communicate(timeout=SECONDS) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert "resuming from a checkpoint" in outputs[0][0] + outputs[1][0]
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
    assert "onoma: the processes differ in code, params.yaml, data/index" in errors
