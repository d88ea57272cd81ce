"""Stopping on request: at the end of a step, not in the middle of one."""

import os
import signal
from types import FrameType, TracebackType
from typing import Self


class StopRequest:
    """Within the context SIGTERM and SIGINT are noted; `reason` says whether to stop.

    Started by DVC, the process also stops once DVC is gone: a killed `dvc repro` must not leave
    a training behind that nobody waits for.
    """

    def __init__(self) -> None:
        self._signal = 0
        self._parent = os.getppid() if "DVC_STAGE" in os.environ else None
        self._old: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number

    @property
    def reason(self) -> str | None:
        """Why to stop, in words; None to go on."""
        if self._signal:
            return signal.Signals(self._signal).name
        if self._parent is not None and os.getppid() != self._parent:
            return "the death of dvc"
        return None
