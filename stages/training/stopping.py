"""Ctrl-C and SIGTERM in training: they wait for the end of a step, whose state is saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from stages.core.errors import Terminated

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


def stop(number: int) -> NoReturn:
    """Raise what the signal ``number`` raises where it is not deferred, with the remedy."""
    kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
    raise kind(f"training stopped by {signal.Signals(number).name}; run again to resume")
