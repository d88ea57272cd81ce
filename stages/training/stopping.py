"""How training stops at Ctrl-C and SIGTERM: after a step, whose state is saved."""

import signal
from typing import NoReturn

from stages.core.errors import Terminated
from stages.core.signals import SIGNALS, deferred_signals

__all__ = ["SIGNALS", "deferred_signals", "stop"]


def stop(number: int) -> NoReturn:
    """Raise what the signal ``number`` raises where it is not deferred, with the remedy."""
    kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
    raise kind(f"training stopped by {signal.Signals(number).name}; run again to resume")
