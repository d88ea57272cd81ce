"""Stop requests: signals, and the death of the process that started this one."""

import os
import signal
import sys
from types import FrameType
from typing import Self

import psutil


class StopRequest:
    """Within the context SIGTERM and SIGINT are recorded; `reason` says whether to stop.

    The death of an ancestor counts as a request too: a killed `dvc repro` must not leave a training
    behind that nobody waits for.
    """

    def __init__(self, ancestors: list[int] | None = None) -> None:
        """Record which processes to watch.

        Args:
            ancestors: ids of parent, grandparent and so on, as far as they matter; by default all
                up to dvc.
        """
        self._signal = 0
        self.ancestors = watched_ancestors() if ancestors is None else ancestors
        self._old: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number

    @property
    def reason(self) -> str | None:
        """Why to stop, in words; None to continue."""
        if self._signal:
            return signal.Signals(self._signal).name
        if _parents(len(self.ancestors)) != self.ancestors:
            return "the death of its parent"
        return None


def watched_ancestors() -> list[int]:
    """Ids of parent, grandparent and so on up to dvc; none if dvc did not start this process."""
    return _parents(_distance_to_dvc())


def _distance_to_dvc() -> int:
    """How many generations up dvc is; 0 if dvc did not start this process.

    Some shells stay between dvc and the command that they run, others are replaced by it.
    """
    if "DVC_STAGE" not in os.environ:
        return 0
    command = " ".join(sys.orig_argv[1:])
    distance = 1
    for parent in psutil.Process().parents():
        try:
            if not parent.cmdline()[-1].endswith(command):
                break
        except (psutil.Error, IndexError):
            break
        distance += 1
    return distance


def _parents(distance: int) -> list[int]:
    """Process ids of parent, grandparent and so on; fewer once one of them is dead."""
    found: list[int] = []
    while len(found) < distance:
        try:
            found.append(psutil.Process(found[-1]).ppid() if found else os.getppid())
        except psutil.NoSuchProcess:
            break
    return found
