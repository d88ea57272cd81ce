"""Several processes that train one model together: torchrun's process group, and its launcher.

Each process holds the whole model and computes a stride of every batch; gradients are summed.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from stages.core.errors import Interrupted, UserError
from stages.core.interrupt import watched_ancestors
from stages.core.params import TrainParams
from stages.core.runtime import Runtime

TIMEOUT = timedelta(minutes=30)  # of a collective operation
RESTARTS = 3
GRACE = 3.0  # seconds for the launcher to read why a process stopped
FINAL = (UserError, Interrupted, OSError)  # a restart would end the same way
FAILED = "failed"  # key in the shared store: one process has ended with one of FINAL


class Abandoned(Exception):
    """Another process has ended with an error that a restart would repeat, and reports it."""


def is_rank_0() -> bool:
    """Whether this process is the first of those that torchrun started, or alone."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def process_group(params: TrainParams) -> Iterator[Runtime]:
    """Join the processes that torchrun started, if it did, and give this process's runtime.

    Rank 0 alone prints.

    Raises:
        Abandoned: another process ended with an error that a restart would repeat.
    """
    if not dist.is_torchelastic_launched():
        yield Runtime.create(params)
        return
    runtime = Runtime.create(params, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    backend = "cpu:gloo,cuda:nccl" if runtime.device.type == "cuda" else "gloo"
    one_machine = os.environ.get("GROUP_WORLD_SIZE") == "1"
    if one_machine and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # torchrun keeps one store for all attempts. Without a prefix a restarted process can read
        # the address of a dead one and wait for it. Agents of several machines count attempts
        # independently, so there docs/scale.md sets TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1.
        attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
        own = dist.PrefixStore(attempt, _store())  # type: ignore[attr-defined]
        dist.init_process_group(
            backend,
            store=own,
            rank=runtime.rank,
            world_size=runtime.world_size,
            timeout=TIMEOUT,
        )
    else:
        dist.init_process_group(backend, timeout=TIMEOUT)
    store = _store()
    try:
        with ExitStack() as stack:
            if not is_rank_0():
                null = stack.enter_context(Path(os.devnull).open("w"))
                stack.enter_context(redirect_stdout(null))
                stack.enter_context(redirect_stderr(null))
            yield runtime
        dist.barrier()  # torchrun takes a process that leaves early for a lost machine
    except FINAL:
        store.set(FAILED, "")
        raise
    except RuntimeError as error:  # a lost connection
        if store.check([FAILED]):
            raise Abandoned from error
        raise
    finally:
        dist.destroy_process_group()


def _store() -> dist.TCPStore:  # type: ignore[name-defined]
    """The store by which the processes meet; in `init_process_group` rank 0 may create it."""
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(*address, wait_for_workers=False)  # type: ignore[attr-defined]


def launch(work: Callable[[list[int]], None], processes: int) -> None:
    """Run ``work`` in several processes on this machine, by torchrun's launcher.

    When a process dies, all are started again, up to `RESTARTS` times. An error of `FINAL` is
    raised here, once.

    Args:
        work: a function of a module; it gets the process ids that it must not outlive.
        processes: how many.
    """
    # torch.distributed.elastic takes long to import, and one process does not need it.
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.WARNING)  # torchrun's messages about signals
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
        errors = elastic_launch(config, _run)(work, [os.getpid(), *watched_ancestors()])
    except SignalException as stop:
        name = signal.Signals(stop.sigval).name
        raise Interrupted(f"training stopped by {name}; run again to resume") from None
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        raise UserError(
            f"{processes} processes were started {RESTARTS + 1} times, and one died each time; "
            f"the last was number {failure.local_rank}, exit status {failure.exitcode}"
        ) from None
    for raised in errors.values():
        if raised and not isinstance(raised, Abandoned):
            raise raised


def _run(work: Callable[[list[int]], None], ancestors: list[int]) -> Exception | None:
    """Call ``work``; return an error that a restart would repeat."""
    raised = None
    try:
        work(ancestors)
    except (*FINAL, Abandoned) as error:
        raised = error
    if isinstance(raised, Interrupted):
        # A launcher that was stopped itself reads no result, and kills this process after half a
        # minute only.
        leave = threading.Timer(GRACE, os._exit, [1])
        leave.daemon = True
        leave.start()
    if os.getppid() != ancestors[0]:
        os._exit(1)  # the launcher is dead
    return raised
