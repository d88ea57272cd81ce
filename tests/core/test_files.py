"""Atomic files: the old one or the new one, and nothing beside it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.core.files import atomic_path, write_text

WRITER = """
import sys
from pathlib import Path
from stages.core.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing tmp_path/table."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "table")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.communicate()


def test_what_a_killed_writer_left_is_gone_after_the_next_write(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    writer.kill()
    writer.wait()
    assert len(list(tmp_path.iterdir())) == 1
    write_text(tmp_path / "table", "whole")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"table": "whole"}


def test_a_writer_at_work_is_not_disturbed_by_another(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    write_text(tmp_path / "table", "whole")
    writer.communicate("", timeout=10)
    assert writer.returncode == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"table": "half"}


def test_hidden_files_of_others_stay(tmp_path: Path) -> None:
    names = {".table.csv.abcdefgh", ".table.old", ".other.abcdefgh", ".table"}
    for name in names:
        (tmp_path / name).touch()
    write_text(tmp_path / "table", "whole")
    assert {path.name for path in tmp_path.iterdir()} == names | {"table"}


def test_after_an_error_the_old_file_stands_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "table", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "table") as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"table": "old"}
