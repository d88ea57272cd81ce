"""Progress of long work: tqdm's bar on a terminal, a plain line every 30 seconds elsewhere."""

import io
import sys
from typing import Any

from tqdm import tqdm

PLAIN_SECONDS = 30


class _Lines(tqdm):  # type: ignore[misc]
    """tqdm for logs: whole lines on standard output instead of a bar that is drawn again."""

    monitor_interval = 0  # no thread: whoever updates prints

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Print how far the work is, unless tqdm only clears its bar (``msg``)."""
        if msg is None and self.n:
            total = f" of {self.total:,}" if self.total else ""
            rate = self.format_dict["rate"] or self.n / max(self.format_dict["elapsed"], 1e-9)
            unit = self.unit.strip()
            print(f"{self.desc}: {self.n:,}{total} {unit}, {rate:,.0f} {unit}/s", flush=True)
        return True


def progress(title: str, total: int | None = None, unit: str = "names") -> "tqdm[Any]":
    """A context manager that counts items of work by ``update(items)``.

    Its ``write(line)`` prints a line of its own above the bar.

    Args:
        title: what is done.
        total: items, if known; then the time left is shown.
        unit: plural of what an item is.
    """
    options = {"desc": title, "total": total, "unit": f" {unit}", "leave": False}
    if sys.stderr.isatty():
        return tqdm(**options)
    seconds = {"mininterval": PLAIN_SECONDS, "delay": PLAIN_SECONDS}
    return _Lines(**options, **seconds, miniters=1, file=io.StringIO())
