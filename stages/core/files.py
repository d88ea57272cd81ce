"""Files that have their old content or the new one, never a part of it."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 6  # significant ones, of a number in metrics


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path next to ``target``; on success flush it and rename it to ``target``.

    After an exception ``target`` is what it was before, and the temporary file is gone; one that
    a killed writer left is overwritten by the next. An operating system's error (a full disk, say)
    names the target, not the temporary file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        yield temporary
        temporary.chmod(0o644)
        _flush(temporary)
        temporary.replace(target)
        _flush(target.parent)  # so that the rename survives a power cut
    except OSError as error:
        if error.errno and str(error.filename or temporary) == str(temporary):
            raise OSError(error.errno, os.strerror(error.errno), str(target)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Write the content of a file, or the entries of a folder, from the caches to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
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
        UserError: it is no regular file, or has more than ``limit`` bytes.
        OSError: there is no such file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: is not a regular file")
    if status.st_size > limit:
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
