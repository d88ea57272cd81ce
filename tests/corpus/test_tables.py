"""Tables go through as they are, in pieces, and an output is whole or not there."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import UserError
from stages.corpus.rows import Format
from stages.corpus.tables import SUFFIXES, Table
from stages.corpus.writing import create

ROWS = [("Abe", "007"), ("", "x,y"), ("Ünal", 'say "hi"\nthere'), ("NA", " 1.50 ")]


def csv_bytes(rows: list[tuple[str, str]]) -> bytes:
    quoted = ('"' + '","'.join(cell.replace('"', '""') for cell in row) + '"' for row in rows)
    return "\n".join(['"name","note"', *quoted, ""]).encode()


def copy(source: Path, target: Path) -> Table:
    table = Table(source)
    with create(target, table.schema) as write:
        for batch, _ in table.batches():
            write(batch)
    return table


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_csv_cells_come_out_as_they_went_in(tmp_path: Path, suffix: str) -> None:
    content = csv_bytes(ROWS)
    source = tmp_path / f"in{suffix}"
    source.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    copy(source, tmp_path / f"out{suffix}")
    found = (tmp_path / f"out{suffix}").read_bytes()
    assert (gzip.decompress(found) if suffix.endswith("gz") else found) == content


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table({"name": ["a", None], "n": pa.array([1, 2], pa.int8()), "l": [[1], []]})
    pq.write_table(table, tmp_path / "in.parquet")
    source = copy(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert source.rows == 2
    assert pq.read_table(tmp_path / "out.parquet").equals(table)


def test_empty_lines_are_cells_of_a_single_column_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("name\na\n\nb\n")
    (tmp_path / "two.csv").write_text("name,note\na,b\n\nc,d\n\n")
    copy(tmp_path / "one.csv", tmp_path / "1.csv")
    assert copy(tmp_path / "two.csv", tmp_path / "2.csv").unreadable == 0
    assert (tmp_path / "1.csv").read_text() == '"name"\n"a"\n""\n"b"\n'
    assert (tmp_path / "2.csv").read_text() == '"name","note"\n"a","b"\n"c","d"\n'


def test_a_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("name,note\n")
    copy(tmp_path / "in.csv", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


BAD_ROWS = [
    (b"a,b\nlonely\nc,d\nx,y,z\n", ["", "1 fields instead of 2", "", "3 fields instead of 2"]),
    (b'1,"Abe\n2,Bob\n3,Cab\n', ["a quote is not closed", "", ""]),
    (b'1,"Abe\n2,"Bob"\n3,Cab\n', ["a quote is not closed", "", ""]),
    (
        b'1,"Abe\n2,Bob\n3,"Cab\n4,Dad\n',
        ["a quote is not closed", "", "a quote is not closed", ""],
    ),
    (b'1,a\n2,"b\n', ["", "a quote is not closed"]),
    (
        b'1,"two\r\nlines"\n2,5" disk\n3,"say ""a\n b"""\n4,"x\n',
        ["", "", "", "a quote is not closed"],
    ),
    (b'1"x,"c\n2,d\n3,e\n', ["a quote is not closed", "", ""]),
    (b"1,a\rb\n2,c\n", ["carriage return within the line", ""]),
    (b'1,"' + b'""' * 2**17 + b'x"\n2,c\n', ["a field longer than 131072 characters", ""]),
    (b'1,M\xfcller\n2,"M\xfcller\nAbe"\n3,c\n', ["not UTF-8", "not UTF-8", ""]),
    (
        b"1,a\n2," + b"x" * (3 * Format().longest) + b"\n3,c\n",
        ["", "longer than 1048576 bytes", ""],
    ),
    (b"1,a\n2," + b"x" * (3 * Format().longest), ["", "longer than 1048576 bytes"]),
    (b'1,"a\n' + b"2,b\n" * 10**6, ["a quote is not closed", *[""] * 10**6]),
    (b"\0000,,\n1,2\n", ["3 fields instead of 2", ""]),
]


@pytest.mark.parametrize(("content", "problems"), BAD_ROWS)
def test_a_row_that_cannot_be_read_comes_out_with_its_text_and_the_reason(
    tmp_path: Path, content: bytes, problems: list[str]
) -> None:
    (tmp_path / "in.csv").write_bytes(b"name,note\n" + content)
    source = Table(tmp_path / "in.csv")
    found = [
        row
        for batch, problem in source.batches()
        for row in zip(*(part.to_pylist() for part in (*batch.columns, problem)), strict=True)
    ]
    assert [problem or "" for _, _, problem in found] == problems
    assert source.unreadable == len(problems) - problems.count("")
    text = "\n" + content.decode("utf-8", "backslashreplace") + "\n"
    for name, note, problem in found:
        if problem:
            assert note is None and (f"\n{name}\n" in text or name.endswith("x..."))


def test_other_separators_and_encodings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes('naïve;n\nMüller;"a;b"\n'.encode("cp1252"))
    source = Table(path, Format(";", "cp1252"))
    assert [batch.to_pydict() for batch, _ in source.batches()] == [
        {"naïve": ["Müller"], "n": ["a;b"]}
    ]
    path.write_bytes("name\n佐藤\n".encode("shift_jis"))
    ((batch, _),) = Table(path, Format(encoding="shift_jis")).batches()
    assert batch.to_pydict() == {"name": ["佐藤"]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"id;name\n1;Abe\n", "separated by ';', set --separator"),
        (b"id\tname\n1\tAbe\n", r"separated by '\\t', set --separator"),
        ("\ufeffname\nAbe\n".encode("utf-16-le"), "iconv -f utf-16 -t utf-8"),
        (b"PK\x03\x04", "Excel"),
        (b"M\xfcller\nAbe\n", "set --encoding"),
    ],
)
def test_another_kind_of_file_is_told_with_the_remedy(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    with pytest.raises(UserError, match=says):
        Table(tmp_path / "in.csv").check_text("name")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"M\xfcller\nAbe\n"),
        ("a.csv.gz", gzip.compress(b"name\nAbe\n")[:12] + b"\xff" * 40),
        ("a.csv.gz", gzip.compress(b"name\n" + bytes(range(65, 91)) * 1000)[:-20]),
        ("a.parquet", b"PAR1 no"),
    ],
)
def test_broken_input_is_one_line_that_names_the_file(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as caught:
        for _ in Table(tmp_path / name).batches():
            pass
    assert "\n" not in str(caught.value)


def test_a_missing_input_and_an_output_of_unknown_suffix_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nope\.csv: No such file"):
        Table(tmp_path / "nope.csv")
    with (
        pytest.raises(UserError, match=r"table\.xlsx: must end in one of .*\.parquet"),
        create(tmp_path / "table.xlsx", pa.schema([])),
    ):
        pass


def test_what_a_file_is_called_does_not_matter_but_for_the_separator_of_a_tsv(
    tmp_path: Path,
) -> None:
    for name, content in (
        ("a.csv.gz", b"name,n\nAbe,1\n"),
        ("a.txt", gzip.compress(b"name,n\nAbe,1\n")),
        ("a.tsv", b"name\tn\nAbe\t1\n"),
    ):
        (tmp_path / name).write_bytes(content)
        ((batch, _),) = Table(tmp_path / name).batches()
        assert batch.to_pydict() == {"name": ["Abe"], "n": ["1"]}
        with create(tmp_path / "copy.tsv", batch.schema) as write:
            write(batch)
        assert (tmp_path / "copy.tsv").read_bytes() == b'"name"\t"n"\n"Abe"\t"1"\n'


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_output_stays_as_it_was_if_the_work_fails(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix}"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), create(target, pa.schema([("a", pa.int8())])) as write:
        write(pa.record_batch({"a": pa.array([1], pa.int8())}))
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_unwritable_output_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="cannot be written"),
        create(tmp_path / "file/out.csv", pa.schema([("a", pa.int8())])),
    ):
        pass
    nested = pa.schema([("a", pa.list_(pa.int8()))])
    with pytest.raises(UserError, match="cannot be written"), create(tmp_path / "o.csv", nested):
        pass


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("name,note\n" + "Abe,something of some length\n" * 10**6)
    peak = 0
    for batch, _ in Table(tmp_path / "in.csv").batches():
        peak = max(peak, batch.nbytes)
    assert peak < 3 * Format().longest
