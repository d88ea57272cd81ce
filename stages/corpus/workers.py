"""Pure functions in other processes: results in order, and never a process left behind."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from types import TracebackType
from typing import Self, TypeVar

from stages.core.errors import UserError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
FEW = 6  # items that are done sooner than processes have started


class Workers:
    """Processes that start once there is enough to do, and end with the context.

    Args:
        processes: 1 works in this process.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """``map(function, items)``, with at most one item waiting for each process.

        Function and items are pickled.

        Raises:
            UserError: a process was killed; what ``function`` raises comes as it is.
        """
        items = iter(items)
        first = list(islice(items, FEW + 1)) if self._processes > 1 else []
        many = len(first) > FEW
        items = chain(first, items)
        del first  # else they would be kept to the end
        if not many:
            yield from map(function, items)
            return
        if not self._pool:
            # Not by fork: a process with threads (Arrow has some) must not be copied.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, context, _end_with_parent)
        running: deque[Future[ResultT]] = deque()
        try:
            for item in items:
                running.append(self._pool.submit(function, item))
                if len(running) == 2 * self._processes:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                f"one of {self._processes} worker processes was killed (by hand, or for want of "
                "memory: then run fewer)"
            ) from None


def _end_with_parent() -> None:
    """End this worker when its parent ends, however it does; Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
