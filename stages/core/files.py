"""Files that are either the old one or the new one, never half of one."""

import fcntl
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 6  # significant ones, of a number in metrics


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target``; on success flush it to disk and rename it there.

    After an exception ``target`` is what it was before, and the temporary file is gone; one that
    a killed writer left is removed by the next. An operating system's error (a full disk, say)
    names the target if it names no file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    handle, temporary = _create(target)
    try:
        yield temporary
        temporary.chmod(0o644)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        if error.filename is None:
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _create(target: Path) -> tuple[int, Path]:
    """A new file that is locked as long as this process lives: so `_sweep` leaves it alone."""
    while True:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        path = Path(name)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            return handle, path
        os.close(handle)  # another writer's sweep came before the lock


def _sweep(target: Path) -> None:
    """Remove the temporary files of writers of ``target`` that were killed."""
    ours = re.compile(re.escape(f".{target.name}.") + "[a-z0-9_]{8}")  # as mkstemp names them
    for path in target.parent.iterdir():
        if not ours.fullmatch(path.name):
            continue
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Flush the folder's own entries, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_regular(path: Path, limit: int) -> bytes:
    """Content of a file that passes `check_regular`."""
    check_regular(path, limit)
    return path.read_bytes()


def check_regular(path: Path, limit: int) -> None:
    """Refuse what is no regular file: reading a FIFO or a device may never end.

    A symbolic link counts as the file behind it, since DVC's cache may be linked.

    Raises:
        UserError: it is none, or it has more than ``limit`` bytes.
        OSError: there is no such file.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: is not a regular file")
    if found.st_size > limit:
        raise UserError(f"{path}: larger than {limit} bytes, so not part of a model")


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with the line ends that it has."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_metrics(target: Path, value: Any) -> None:
    """`write_json` with numbers of `DIGITS` significant digits."""
    write_json(target, rounded(value))


def write_csv(target: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index; numbers have `DIGITS` significant digits."""
    write_text(target, table.to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g"))


def rounded(value: Any) -> Any:
    """``value`` with each float in it rounded to `DIGITS` significant digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def write_json(target: Path, value: Any) -> None:
    """Write indented JSON; NaN and infinity raise, since DVC's readers cannot take them."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
