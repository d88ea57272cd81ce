"""Tables that are written: whole or not there, and as they were read."""

import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import UserError
from stages.corpus.sources import SUFFIXES
from stages.corpus.tables import Table
from stages.corpus.writing import create


def copy(source: Path, target: Path) -> Table:
    table = Table(source)
    with create(target, table.schema) as write:
        for batch, _ in table.batches():
            write(batch)
    return table


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".parquet"])
def test_cells_come_out_as_they_went_in(tmp_path: Path, suffix: str) -> None:
    separator = "\t" if "tsv" in suffix else ","
    rows = [("name", "note"), ("Abe", "007"), ("", f"x{separator}y"), ("NA", " 1.50 ")]
    rows.append(("Ünal", 'say "hi"\nthere'))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=1, delimiter=separator).writerows(rows)
    pack = gzip.compress if suffix.endswith("gz") else bytes
    (tmp_path / f"in{suffix}").write_bytes(pack(text.getvalue().encode()))
    copy(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}")
    found = (tmp_path / f"out{suffix}").read_bytes()
    assert (gzip.decompress(found) if suffix.endswith("gz") else found) == text.getvalue().encode()


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table({"name": ["a", None], "n": pa.array([1, 2], pa.int8()), "l": [[1], []]})
    pq.write_table(table, tmp_path / "in.parquet")
    assert copy(tmp_path / "in.parquet", tmp_path / "out.parquet").rows == 2
    assert pq.read_table(tmp_path / "out.parquet").equals(table)


def test_empty_lines_are_cells_of_a_single_column(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("name\na\n\nb\n")
    copy(tmp_path / "one.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == '"name"\n"a"\n""\n"b"\n'


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_output_stays_as_it_was_if_the_work_fails(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix}"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), create(target, pa.schema([("a", pa.int8())])) as write:
        write(pa.record_batch({"a": pa.array([1], pa.int8())}))
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("folder.csv", pa.int8(), "cannot be written: Is a directory"),
        ("file/out.csv", pa.int8(), r"cannot be written: .*/file: File exists"),
        ("nested.csv", pa.list_(pa.int8()), "cannot be written"),
        ("table.xlsx", pa.int8(), r"must end in one of .*\.parquet"),
    ],
)
def test_unwritable_output_is_one_line_that_names_the_target(
    tmp_path: Path, name: str, kind: pa.DataType, said: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    schema = pa.schema([("a", kind)])
    with (
        pytest.raises(UserError, match=f"^{tmp_path / name}: {said}"),
        create(tmp_path / name, schema),
    ):
        pass


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.csv").symlink_to("there/real.csv")
    for value in (1, 2):  # to a file that is not there, and to one that is
        with create(tmp_path / "link.csv", pa.schema([("a", pa.int8())])) as write:
            write(pa.record_batch({"a": pa.array([value], pa.int8())}))
        assert (tmp_path / "link.csv").is_symlink()
        assert (tmp_path / "there/real.csv").read_text() == f'"a"\n{value}\n'
    assert len([*tmp_path.rglob("*")]) == 3
