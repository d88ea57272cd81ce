"""Ctrl-C and SIGTERM deferred, where an exception would leave a lock held or a state half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def deferred_signals() -> Iterator[list[int]]:
    """Within the context `SIGNALS` are appended to the list that it gives, and do nothing else."""
    received: list[int] = []

    def append(number: int, frame: FrameType | None) -> None:
        received.append(number)

    handlers = {number: signal.signal(number, append) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
