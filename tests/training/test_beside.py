"""A function in a process beside this one: its result, its errors, its end."""

import os
import signal
import time

import psutil
import pytest

from stages.core.errors import UserError
from stages.training.beside import Beside

pytestmark = pytest.mark.slow  # each starts a process


def double(number: int) -> int:
    if number < 0:
        raise UserError("no negative numbers")
    return 2 * number


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep() -> None:
    time.sleep(600)


def test_the_result_comes_from_another_process() -> None:
    with Beside(double, 21) as work:
        assert work.result() == 42
    with Beside(os.getpid) as work:
        assert work.result() != os.getpid()


def test_an_error_of_the_user_s_making_comes_as_it_is() -> None:
    with Beside(double, -1) as work, pytest.raises(UserError, match="no negative numbers"):
        work.result()


def test_a_killed_process_is_told() -> None:
    with Beside(die) as work, pytest.raises(UserError, match="exit status -9"):
        work.result()


def test_who_leaves_leaves_no_process_behind() -> None:
    before = set(psutil.Process().children())
    with Beside(sleep) as work:
        assert not work.ready(within=0.1)
        started = [
            child
            for child in set(psutil.Process().children()) - before
            if "spawn_main" in " ".join(child.cmdline())
        ]
        assert started
    assert not any(process.is_running() for process in started)
