"""Dask clusters of real processes on this machine, and workers that are killed at their work."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import dask
import pytest
from distributed import Client, LocalCluster


@contextmanager
def two_workers() -> Iterator[LocalCluster]:
    """A scheduler, and two workers that are processes of their own and start again if killed."""
    # LocalCluster closes a worker that it lost so long ago, even if it is back and lost again.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster


def kill_workers(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType
) -> list[int]:
    """Kill a worker at the 3rd and at the 6th result that each module's `Progress` counts.

    Returns:
        The ids of the processes killed so far.
    """
    killed: list[int] = []

    def kill_one() -> None:
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            pid = min(client.run(os.getpid).values())
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    for module in modules:

        class Killing(module.Progress):
            results = 0

            def advance(self, items: int) -> None:
                self.results += 1
                if self.results in (3, 6):
                    kill_one()
                super().advance(items)

        monkeypatch.setattr(module, "Progress", Killing)
    return killed
