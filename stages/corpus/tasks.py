"""Tasks in other processes, of this machine (loky) or of a Dask cluster; results in order.

Both are used through `submit` and futures. `joblib.Parallel(return_as="generator")` is not: it
takes new items whether or not its results are read, so that memory has no bound.
"""

import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from operator import methodcaller
from pathlib import Path
from typing import Any, TypeVar

from joblib.externals.loky import ProcessPoolExecutor

from stages.core.errors import UserError, brief
from stages.core.signals import deferred_signals

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
FEW = 6  # items that this process completes before others would have started
CONNECT_SECONDS = 10
SIGNAL_SECONDS = 0.2  # between looks for a signal
CANCEL_SECONDS = 10  # until loky has seen what is cancelled


@dataclass(frozen=True)
class Tasks:
    """Processes to work on many items.

    Attributes:
        submit: starts a task: what `Executor.submit` and Dask's `Client.submit` do.
        processes: how many there are.
        cluster: the address of their scheduler; None on this machine.
    """

    submit: Callable[..., Any]
    processes: int
    cluster: str | None = None

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT], few: int = FEW
    ) -> Iterator[ResultT]:
        """``map(function, items)``, with at most one item waiting for each process.

        Up to ``few`` items are worked on in this process, but for a cluster. A cluster repeats the
        task of a worker that is lost: to run it twice must do no harm. Function and items are
        pickled.

        Raises:
            UserError: a process was killed, or the cluster is lost.
        """
        items = iter(items)
        if not self.cluster:
            first = list(islice(items, few + 1)) if self.processes > 1 else []
            enough, items = len(first) > few, chain(first, items)
            del first  # items may be large
            if not enough:
                yield from map(function, items)
                return
        running: deque[Any] = deque()
        result = methodcaller("result") if self.cluster else _result
        try:
            for item in items:
                with _uninterrupted():
                    running.append(self.submit(function, item))
                if len(running) >= 2 * self.processes:
                    yield result(running.popleft())
            while running:
                yield result(running.popleft())
        except BrokenProcessPool:
            raise UserError(
                f"one of {self.processes} worker processes was killed (by hand, or for want of "
                "memory: then run fewer)"
            ) from None
        except CancelledError:
            raise UserError(f"{self.cluster}: the Dask scheduler is lost; run again") from None
        except Exception as error:
            if type(error).__name__ != "KilledWorker":  # whose module is there with Dask only
                raise
            raise UserError(f"{self.cluster}: {brief(error, 200)}") from None
        finally:
            with _uninterrupted():
                cancelled = [future for future in running if future.cancel()]
                if not self.cluster:  # at shutdown loky's manager dies of a future it did not see
                    wait(cancelled, timeout=CANCEL_SECONDS)


@contextmanager
def _uninterrupted() -> Iterator[list[int]]:
    """Within the context signals wait: an exception in loky's code may leave a lock for ever."""
    with deferred_signals() as received:
        yield received
    for number in received[:1]:
        signal.raise_signal(number)


def _result(future: Any) -> Any:
    """The result of a future of loky's; a signal ends the wait."""
    with _uninterrupted() as received:
        while not received:
            if wait([future], timeout=SIGNAL_SECONDS).done:
                return future.result()
    return None  # only if the signal's handler raises nothing


@contextmanager
def start_tasks(processes: int, cluster: str | None, folder: Path) -> Iterator[Tasks]:
    """Give `Tasks`, whose processes end with the context.

    Args:
        processes: on this machine; 1 works in this process.
        cluster: address of a Dask scheduler, whose workers are used instead. Without one, that
            of the environment's DASK_SCHEDULER_ADDRESS, if it is set.
        folder: what the workers of a cluster must share with this process.

    Raises:
        UserError: there is no such scheduler, or its workers do not share folder and package.
    """
    if address := cluster or os.environ.get("DASK_SCHEDULER_ADDRESS"):
        with ExitStack() as stack:
            yield Tasks(*_connect(address, folder.absolute(), stack), address)
        return
    local = ProcessPoolExecutor(processes, initializer=_end_with_parent, initargs=(os.getpid(),))
    try:
        yield Tasks(local.submit, processes)
    finally:
        with _uninterrupted():
            local.shutdown(kill_workers=True)


def _end_with_parent(parent: int) -> None:
    """End this worker when its parent ends, however it does; Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _connect(address: str, folder: Path, stack: ExitStack) -> tuple[Callable[..., Any], int]:
    """What submits a task to the cluster, and how many it runs at once."""
    from distributed import Client

    try:
        client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS, set_as_default=False))
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError:
        raise UserError(f"{address}: the Dask scheduler has no workers; start some") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{address}: no Dask scheduler: {brief(error, 200)}") from None
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".shared.") as token:
        for worker, sees in client.run(is_file, token.name, on_error="return").items():
            if isinstance(sees, Exception):
                raise UserError(f"{worker}: cannot load onoma; install it there: {brief(sees)}")
            if not sees:
                raise UserError(f"{worker}: cannot see {folder}; use storage that workers share")
    return partial(client.submit, pure=False), sum(client.nthreads().values())


def is_file(path: str) -> bool:
    """Whether a worker sees a file; one without this package cannot say."""
    return Path(path).is_file()
