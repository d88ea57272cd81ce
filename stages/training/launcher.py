"""Starting the processes that train together on one machine, by torchrun's launcher."""

import logging
import os
import signal
import threading
from collections.abc import Callable

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from stages.core.errors import Interrupted, UserError
from stages.core.interrupt import watched_ancestors
from stages.training.distributed import FINAL, Abandoned

RESTARTS = 3
UNREAD = 3.0  # seconds for the launcher to read what stopped a process


def launch(work: Callable[[list[int]], None], processes: int) -> None:
    """Run ``work`` in so many processes on this machine, by torchrun's launcher.

    A process that dies ends all of them, and all begin again, a few times. An error of `FINAL`
    is raised here, once.

    Args:
        work: a module's function; given the ids of this process and of those that it lives by.
        processes: how many.
    """
    logging.disable(logging.WARNING)  # torchrun's own words on signals; of bugs it tells as errors
    ancestors = [os.getpid(), *watched_ancestors()]
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="onoma",
        max_restarts=RESTARTS,
        logs_specs=DefaultLogsSpecs(),
    )
    try:
        ends = elastic_launch(config, _end_of)(work, ancestors)
    except SignalException as stop:
        raise Interrupted(
            f"stopped by {signal.Signals(stop.sigval).name}; run again to go on from here"
        ) from None
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        raise UserError(
            f"{processes} processes were started {RESTARTS + 1} times, and one died each time; "
            f"the last was number {failure.local_rank}, exit status {failure.exitcode}"
        ) from None
    for end in ends.values():
        if end and not isinstance(end, Abandoned):
            raise end


def _end_of(work: Callable[[list[int]], None], ancestors: list[int]) -> Exception | None:
    """What ended ``work``, if another attempt would not mend it."""
    end = None
    try:
        work(ancestors)
    except (*FINAL, Abandoned) as error:
        end = error
    if isinstance(end, Interrupted):
        # torchrun's launcher, when it was stopped itself, reads no result: this process would
        # wait until it is killed half a minute later.
        leave = threading.Timer(UNREAD, os._exit, [1])
        leave.daemon = True
        leave.start()
    if os.getppid() != ancestors[0]:
        os._exit(1)  # torchrun's launcher is dead, and would be waited for
    return end
