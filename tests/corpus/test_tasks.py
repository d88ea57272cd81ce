"""Work in other processes: the same results, and no process that outlives the work."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

import psutil
import pytest

from stages.core.errors import UserError
from stages.corpus import tasks as module
from stages.corpus.tasks import FEW, Tasks, start_tasks
from tests.clusters import two_workers
from tests.conftest import ROOT


def workers(processes: int) -> AbstractContextManager[Tasks]:
    return start_tasks(processes, None, ROOT)


def square(number: int) -> int:
    time.sleep((number % 3) / 100)  # so that they end in another order
    return number * number


def process_of(_: int) -> int:
    return os.getpid()


def refuse(number: int) -> int:
    if number == 5:
        raise UserError("names.csv: line 5 is odd")
    return number


def die(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("processes", [1, 3])
def test_results_come_in_order_and_once(processes: int) -> None:
    with workers(processes) as tasks:
        for count in (0, 1, FEW, FEW + 1, 20):  # the processes serve more than one call
            assert [*tasks.map(square, range(count))] == [n * n for n in range(count)]


def test_little_work_is_done_here_and_much_elsewhere() -> None:
    with workers(2) as tasks:
        assert {*tasks.map(process_of, range(FEW))} == {os.getpid()}
        assert os.getpid() not in {*tasks.map(process_of, range(FEW + 1))}


def test_items_are_taken_only_as_they_are_worked_on() -> None:
    taken = []
    with workers(2) as tasks:
        results = tasks.map(square, (taken.append(n) or n for n in range(1000)))
        next(results)
        assert len(taken) < 10


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (refuse, r"^names\.csv: line 5 is odd$"),
        (die, r"^one of 2 worker processes was killed .*fewer\)$"),
    ],
)
def test_an_error_or_a_killed_process_ends_the_work_in_one_line(work: Callable, said: str) -> None:
    with pytest.raises(UserError, match=said), workers(2) as tasks:
        list(tasks.map(work, range(1000)))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(number: signal.Signals) -> None:
    program = (
        "from pathlib import Path; from stages.corpus.tasks import start_tasks\n"
        "with start_tasks(2, None, Path()) as tasks:\n"
        "    for n in tasks.map(abs, range(10**9)): print(n, flush=True)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout
    parent.stdout.readline()
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 3
    parent.send_signal(number)
    parent.stdout.close()
    assert parent.wait(timeout=20)
    assert not psutil.wait_procs(family, timeout=20)[1]


@pytest.mark.slow
def test_a_cluster_keeps_order_and_errors_and_what_it_loses_is_told_in_one_line() -> None:
    taken = []
    with two_workers() as cluster, start_tasks(1, cluster.scheduler_address, ROOT) as tasks:
        assert [*tasks.map(square, range(20))] == [n * n for n in range(20)]
        next(tasks.map(square, (taken.append(n) or n for n in range(1000))))
        assert len(taken) < 10
        with pytest.raises(UserError, match=r"^names\.csv: line 5 is odd$"):
            list(tasks.map(refuse, range(1000)))
        with pytest.raises(UserError, match=r"^tcp://.*workers") as every_worker:
            list(tasks.map(die, range(4, 7)))
        results = tasks.map(square, range(10**6))
        next(results)
        cluster.close()
        with pytest.raises(UserError, match=r"^tcp://.* is lost; run again") as scheduler:
            list(results)
    assert "\n" not in f"{every_worker.value}{scheduler.value}"


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_signal_waits_until_a_task_is_started_and_ends_the_wait_for_its_result(
    is_waiting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception within loky's code may leave a lock, for which its threads wait for ever."""
    started, future = [], Future[int]()

    def submit(function: object, item: int) -> Future[int]:
        if not is_waiting:
            signal.raise_signal(signal.SIGTERM)
        elif item == 3:  # the last before results are waited for
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        started.append(item)
        return future

    monkeypatch.setattr(module, "CANCEL_SECONDS", 0)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(Tasks(submit, 2).map(int, range(9), few=0))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert started == [0, 1, 2, 3][: 4 if is_waiting else 1] and future.cancelled()
