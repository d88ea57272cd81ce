"""Dask clusters of real processes on this machine, and workers that are killed at their work.

Dask is imported where it is used: most tests do without.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

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


def kill_workers(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType
) -> list[int]:
    """Kill a worker at the 3rd and at the 6th result that each module's `progress` counts.

    Returns:
        The ids of the processes killed so far.
    """
    from distributed import Client

    killed: list[int] = []

    def kill_one() -> None:
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            while not (pids := client.run(os.getpid, on_error="ignore")):
                client.wait_for_workers(1)  # one that was killed just now cannot answer
            pid = min(pids.values())
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    for module in modules:

        @contextmanager
        def killing(*args: Any, wrapped: Any = module.progress, **options: Any) -> Iterator[Any]:
            with wrapped(*args, **options) as bar:
                update, results = bar.update, itertools.count(1)

                def update_and_kill(items: int) -> None:
                    if next(results) in (3, 6):
                        kill_one()
                    update(items)

                bar.update = update_and_kill
                yield bar

        monkeypatch.setattr(module, "progress", killing)
    return killed
