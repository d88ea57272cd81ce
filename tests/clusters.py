"""Dask clusters of real processes on this machine, and workers that are killed at their work.

Dask is imported where it is used: most tests do without.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from stages.corpus.tasks import Tasks

if TYPE_CHECKING:
    from distributed import LocalCluster


@contextmanager
def two_workers() -> Iterator[LocalCluster]:
    """A scheduler, and two workers that are processes of their own and start again if killed."""
    import dask
    from distributed import LocalCluster

    # LocalCluster closes a worker that it lost so long ago, even if it is back and lost again.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster


def kill_workers(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kill a worker at the third result of each `Tasks.map`.

    Returns:
        The ids of the processes killed so far.
    """
    from distributed import Client

    killed, undisturbed_map = list[int](), Tasks.map

    def kill_one() -> None:
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            while not (pids := client.run(os.getpid, on_error="ignore")):
                client.wait_for_workers(1)  # one that was killed just now cannot answer
            pid = min(pids.values())
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    def map_and_kill(*args: Any, **options: Any) -> Iterator[Any]:
        for number, result in enumerate(undisturbed_map(*args, **options), start=1):
            if number == 3:
                kill_one()
            yield result

    monkeypatch.setattr(Tasks, "map", map_and_kill)
    return killed
