"""Errors that a user can fix are one line; all others are bugs and keep their traceback."""

import os
import re
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from types import FrameType

from stages.core.text import visible


class UserError(Exception):
    """An error of the input, the parameters or the machine; names the cause and the remedy."""


def uncapitalised(message: str) -> str:
    """A library's message with a small first letter, to follow a colon."""
    return message[:1].lower() + message[1:]


def brief(value: object, limit: int = 100) -> str:
    """Untrusted text for an error message: one visible line of bounded length."""
    line = visible(" ".join(str(value)[: 10 * limit].split()))
    return line if len(line) <= limit else line[: limit - 3] + "..."


# OSError: a full disk, a read-only folder; its message names the file. DVCLive opens DVC's SQLite
# state, which has an error of its own for the same.
EXPECTED = (UserError, OSError, sqlite3.OperationalError)
# The extra that installs a module; before those that `serve` has as well, fastapi is imported.
_PIPELINE = [
    *("dvc", "dvclive", "fsspec", "gto", "jinja2", "joblib", "onnx", "pandas", "psutil"),
    *("pyarrow", "pydantic", "ruamel", "safetensors", "scipy", "sklearn", "torch", "tqdm"),
]
EXTRAS = dict.fromkeys(_PIPELINE, "pipeline")
EXTRAS |= dict.fromkeys(("anyio", "fastapi", "granian", "starlette"), "serve")
EXTRAS |= dict.fromkeys(("dask", "distributed"), "cluster")

NO_MEMORY = re.compile("can't allocate memory|out of memory")  # in a RuntimeError of torch


class Terminated(KeyboardInterrupt):
    """Raised in the main thread by SIGTERM, as `KeyboardInterrupt` is by Ctrl-C."""


def exit_code(main: Callable[[], int | None]) -> int:
    """Run ``main`` and return its exit status; an expected error is one line on stderr and 1.

    Ctrl-C and SIGTERM are exceptions in ``main``, whose context managers clean up; the status is
    130 or 143. With ``ONOMA_DEBUG=1`` in the environment expected errors are raised, with their
    traceback.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        return main() or 0
    except KeyboardInterrupt as interrupt:
        print(f"onoma: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS or os.environ.get("ONOMA_DEBUG") == "1":
            raise
        print(f"onoma: needs {package}: pip install 'onoma[{EXTRAS[package]}]'", file=sys.stderr)
        return 1
    except (*EXPECTED, MemoryError, RuntimeError) as error:
        too_large = isinstance(error, MemoryError) or NO_MEMORY.search(str(error))
        if os.environ.get("ONOMA_DEBUG") == "1" or not (too_large or isinstance(error, EXPECTED)):
            raise
        text = f"out of memory ({error}); less at once needs less of it" if too_large else error
        print(f"onoma: {visible(str(text))}", file=sys.stderr)
        return 1


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated("terminated")
