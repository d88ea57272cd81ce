"""What a person can mend, told in one line; everything else is a bug and keeps its traceback."""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from filelock import FileLock, Timeout


class UserError(Exception):
    """A fault of the input, the parameters or the machine: names the thing and the mend."""


class Interrupted(Exception):
    """The work was asked to stop and did so in good order; the message says what is kept."""


def brief(value: object, limit: int = 100) -> str:
    """A stranger's text, fit for an error message: one printable line of bounded length."""
    line = " ".join(str(value)[: 10 * limit].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def exit_code(main: Callable[[], int | None], lock: Path | None = None) -> int:
    """Run ``main`` and return its exit status: a `UserError` is one line on stderr and 1.

    Args:
        main: what to run.
        lock: a file that only one process holds at a time; another is told so at once. The
            operating system lets go of it when the process ends, however it ends.
    """
    try:
        with FileLock(lock, blocking=False) if lock else nullcontext():
            return main() or 0
    except Timeout:
        print(f"onoma: {lock}: held by another process at the same work; wait", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("onoma: interrupted", file=sys.stderr)
        return 130
    except UserError as error:
        print(f"onoma: {error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(f"onoma: {stop}", file=sys.stderr)
        return 1
    except (OSError, sqlite3.OperationalError) as error:
        # A full disk, a read-only folder: the operating system's words name the file. DVCLive
        # opens DVC's SQLite state, which has its own error for the same.
        print(f"onoma: {error}", file=sys.stderr)
        return 1
