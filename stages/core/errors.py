"""Errors that a user can fix are one line; all others are bugs and keep their traceback."""

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from stages.core.text import visible


class UserError(Exception):
    """An error of the input, the parameters or the machine; names the cause and the remedy."""


class Interrupted(Exception):
    """The work was asked to stop and has stopped; the message says how to resume."""


def uncapitalised(message: str) -> str:
    """A library's message as it continues a line of ours; the rest of it keeps its case."""
    return message[:1].lower() + message[1:]


def brief(value: object, limit: int = 100) -> str:
    """Untrusted text for an error message: one visible line of bounded length."""
    line = visible(" ".join(str(value)[: 10 * limit].split()))
    return line if len(line) <= limit else line[: limit - 3] + "..."


def exit_code(main: Callable[[], int | None], lock: Path | None = None) -> int:
    """Run ``main`` and return its exit status; an expected error is one line on stderr and 1.

    With ``ONOMA_DEBUG=1`` in the environment such errors are raised, with their traceback.

    Args:
        main: what to run.
        lock: a file that one process holds at a time; a second one fails at once. The operating
            system releases it when the process ends, however it ends.
    """
    from filelock import FileLock, Timeout  # here: `import onoma` takes no lock

    try:
        with FileLock(lock, blocking=False) if lock else nullcontext():
            return main() or 0
    except KeyboardInterrupt:
        print("onoma: interrupted", file=sys.stderr)
        return 130
    # OSError: a full disk, a read-only folder; its message names the file. DVCLive opens DVC's
    # SQLite state, which has an error of its own for the same.
    except (UserError, Interrupted, Timeout, OSError, sqlite3.OperationalError) as error:
        if os.environ.get("ONOMA_DEBUG") == "1":
            raise
        busy = isinstance(error, Timeout)
        message = f"{lock}: another process holds it; wait for it to end" if busy else str(error)
        print(f"onoma: {visible(message)}", file=sys.stderr)
        return 1
