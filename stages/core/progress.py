"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

PLAIN_SECONDS = 30


class Progress:
    """Counts items of work; shows the rate and, given ``total``, the time left."""

    def __init__(self, title: str, total: int | None = None, unit: str = "names") -> None:
        self._title, self._total, self._unit = title, total, unit
        self.done = 0
        self._started = self._shown = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, rate="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, items: int) -> None:
        """Count ``items`` more as done."""
        self.done += items
        now = time.monotonic()
        rate = f"{self.done / max(now - self._started, 1e-9):,.0f} {self._unit}/s"
        self._bar.update(self._task, advance=items, rate=rate)
        if self._bar.disable and now - self._shown > PLAIN_SECONDS:
            self._shown = now
            whole = f" of {self._total:,}" if self._total else ""
            print(f"{self._title}: {self.done:,}{whole} {self._unit}, {rate}", flush=True)

    def say(self, line: str) -> None:
        """Print a line of its own above the bar."""
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.console.print(line, highlight=False, markup=False)
