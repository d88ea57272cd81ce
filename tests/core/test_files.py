"""Atomic files: the old one or the new one, and nothing next to it."""

import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.files import atomic_path, write_text

WRITER = """
import os, signal, sys
from pathlib import Path
from stages.core.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half of a long text")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_what_a_killed_writer_left_is_gone_after_the_next_write(tmp_path: Path) -> None:
    write_text(tmp_path / "table", "old")
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "table")])
    assert contents(tmp_path) == {"table": "old", ".table.tmp": "half of a long text"}
    write_text(tmp_path / "table", "whole")
    assert contents(tmp_path) == {"table": "whole"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_or_a_signal_the_old_file_stands_alone(
    tmp_path: Path, error: type[BaseException]
) -> None:
    write_text(tmp_path / "table", "old")
    with pytest.raises(error), atomic_path(tmp_path / "table") as temporary:
        temporary.write_text("new")
        raise error
    assert contents(tmp_path) == {"table": "old"}


def test_an_operating_system_s_error_names_the_target(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"Is a directory: '.*/folder'$"):
        write_text(tmp_path / "folder", "x")
