"""The one reader of tables: ingest and predict get the same rows, reasons and refusals."""

import csv
import gzip
import io
import random
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.core.params import Params
from stages.corpus import reading, tables
from stages.corpus.normalize import normalise
from stages.corpus.rows import Block, Format, cut, split, whole_rows
from stages.corpus.tables import Table
from tests.conftest import ROOT

LONGEST = Format().longest
INGEST = Params.load(ROOT / "params.yaml").ingest


@pytest.fixture(autouse=True)
def any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ingest keeps names that no model can learn: how rows are read is tested here, alone."""
    monkeypatch.setattr(reading, "usable_name", lambda text, full, **how: normalise(text, **how))


Rows = tuple[list[tuple[str, ...]], list[tuple[int, str]]]


def by_ingest(path: Path, **changes: object) -> Rows:
    """The rows of a file of name,country, and line and reason of those refused."""
    rows, refused = [], []
    for chunk in reading.read(str(path), INGEST.model_copy(update=changes)):
        rows.extend(chunk.rows.itertuples(index=False, name=None))
        refused.extend(chunk.rejects[["line", "reason"]].itertuples(index=False, name=None))
    return rows, refused


def by_predict(path: Path, **changes: object) -> Rows:
    """The same as `onoma predict` and `onoma shares` read it."""
    rows, refused = [], []
    for block in Table(path, Format(**changes)).blocks((0, 1), small=True):
        columns, reasons = split(block)
        cells = (column.to_pylist() for column in (*columns, reasons))
        for line, *row, reason in zip(block.lines.tolist(), *cells, strict=True):
            (refused if reason else rows).append((line, reason) if reason else tuple(row))
    return rows, refused


both = pytest.mark.parametrize("read", [by_ingest, by_predict])


TWO = [("Rossi", "Italy"), ("Müller", "Germany")]


@both
@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("name,country\nRossi,Italy\nMüller,Germany\n", TWO),
        ("name,country\nRossi,Italy\nMüller,Germany", TWO),
        ("name,country\r\nRossi,Italy\r\nMüller,Germany\r\n", TWO),
        ('name,"country"\nRossi,"Italy"\n"Müller",Germany\n', TWO),
        ('\ufeff"name","country"\r\n"Rossi","Italy"\r\nMüller,Germany\r\n', TWO),
        ("\n\r\nname,country\nRossi,Italy\n\n\r\nMüller,Germany\n\n", TWO),
        ('name,country\n"De ""Vries""",Netherlands\n', [('De "Vries"', "Netherlands")]),
        ('name,country\n"Smith, Jr",England\n', [("Smith, Jr", "England")]),
        ('name,country\n5" Disk,England\n', [('5" Disk', "England")]),
        ("name,country\nRo\ufffdssi,Italy\n", [("Ro\ufffdssi", "Italy")]),
        ("name,country\n=Cmd(),Chad\n@X,Mali\n", [("=Cmd()", "Chad"), ("@X", "Mali")]),
        ("name,country\n", []),
        # Excel's line that says the separator.
        ("sep=;\nname;country\nRossi;Italy\nMüller;Germany\n", TWO),
        ('\ufeff"sep=\t"\r\nname\tcountry\r\nRossi\tItaly\r\nMüller\tGermany\r\n', TWO),
    ],
)
def test_every_spelling_of_a_csv_is_read(
    read, content: str, rows: list[tuple[str, str]], file: Path
) -> None:
    for data in (content.encode(), gzip.compress(content.encode())):
        file.write_bytes(data)
        assert read(file) == (rows, [])


OPEN = "a quote is not closed"
LONG_FIELD = "a field longer than 131072 characters"
BAD_ROWS = [
    (b"a,b\nlonely\nc,d\nx,y,z\n", {3: "1 fields instead of 2", 5: "3 fields instead of 2"}),
    (b'1,"Abe\n2,Bob\n3,Cab\n', {2: OPEN}),
    (b'1,"Abe\n2,"Bob"\n3,Cab\n', {2: OPEN}),
    (b'1,"Abe\n2,Bob\n3,"Cab\n4,Dad\n', {2: OPEN, 4: OPEN}),
    (b'1,a\n2,"b\n', {3: OPEN}),
    (b'1"x,"c\n2,d\n3,e\n', {2: OPEN}),
    (b'1,"a\n' + b"2,b\n" * 300_000, {2: OPEN}),
    (b'"Abe"x,a\n2,c\n', {2: "broken quotes"}),
    (b"1,a\rb\n2,c\n", {2: "carriage return within the line"}),
    (b'1,"' + b'""' * 2**17 + b'x"\n2,c\n', {2: LONG_FIELD}),
    (b"1,M\xfcller\n2,c\n", {2: "not UTF-8"}),
    (b'"M\xfcller ""x""",Germany\nAbe,It\xc3\n\x85,x\n', dict.fromkeys((2, 3, 4), "not UTF-8")),
    (b"\0000,,\n1,2\n", {2: "3 fields instead of 2"}),
]


@both
@pytest.mark.parametrize(("content", "refused"), BAD_ROWS)
def test_a_bad_row_is_refused_with_its_line_and_the_others_are_read(
    read, content: bytes, refused: dict[int, str], file: Path
) -> None:
    file.write_bytes(b"name,country\n" + content)
    rows, found = read(file)
    assert dict(found) == refused and len(found) == len(refused)
    assert len(rows) == content.count(b"\n") - len(refused)


def test_quotes_may_go_over_line_ends(file: Path) -> None:
    file.write_bytes(
        b'id,"two\nlines"\n1,"two\r\nlines"\n2,5" disk\n3,"say ""a\n b"""\n4,"x\n5,"M\xfcller\nx"\n'
    )
    assert Table(file).header == ["id", "two\nlines"]
    rows = [("1", "two\r\nlines"), ("2", '5" disk'), ("3", 'say "a\n b"')]
    assert by_predict(file) == (rows, [(8, OPEN), (9, "not UTF-8")])


def test_a_line_without_end_is_cut_or_ends_the_reading_soon_in_little_memory(file: Path) -> None:
    file.write_bytes(b"name,n\n1,a\n2," + b"x" * (3 * LONGEST) + b"\n3,c\n")
    with pytest.raises(UserError, match=r"names\.csv: line 3 is longer than 1048576 bytes"):
        by_ingest(file, header="no")
    rows = [("1", "a"), ("3", "c")]
    assert by_predict(file) == (rows, [(3, "longer than 1048576 bytes")])
    names = [name for batch, _ in Table(file).batches() for name in batch[0].to_pylist()]
    assert [*map(len, names)] == [1, 1003, 1]
    file.write_bytes(gzip.compress(b"x" * 2**24) * 200)  # 3 MB that inflate to 3 GB of one line
    tracemalloc.start()
    start = time.monotonic()
    for read in (by_ingest, by_predict):
        with pytest.raises(UserError, match="line 1 is longer than 1048576 bytes"):
            read(file)
    assert time.monotonic() - start < 10
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


DIGITS = random.Random(1).randbytes(20_000).hex().encode()  # that compress badly


def gzip_of(content: bytes, keep: float) -> bytes:
    whole = gzip.compress(content, mtime=0)  # it is in the id of a test
    return whole[: int(len(whole) * keep)]


@both
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("\ufeffRossi,Italy\n".encode("utf-16-le"), "is UTF-16; convert it to UTF-8"),
        ("\ufeffRossi,Italy\n".encode("utf-16-be"), "is UTF-16; convert it to UTF-8"),
        (b"PK\x03\x04" + b"\0" * 100, "is an Excel workbook or a zip; save it as CSV"),
        (gzip_of(DIGITS + b",x\n", 0.5), "broken gzip after line 0: "),
        (gzip_of(DIGITS + b",x\n", 0.999), "broken gzip after line 0: "),
        (gzip_of(b"Rossi,Italy\n" * 1000, 1)[:-8] + b"\0" * 8, r"broken gzip after line \d+: "),
        (gzip_of(b"Rossi,Italy\n" * 1000, 1) + b"garbage", r"broken gzip after line \d+: "),
        (gzip_of(b"Rossi,Italy\n", 1)[:12] + b"\xff" * 40, r"broken gzip after line \d+: "),
        (b"PAR1" + b"\0" * 100, "broken Parquet: "),
        (None, "No such file"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(
    read, content: bytes | None, said: str, file: Path
) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=rf"names\.csv: ({said}|no such CSV)") as caught:
        read(file)
    assert "\n" not in str(caught.value)


@both
@pytest.mark.parametrize(
    "options",
    [
        *({"separator": symbol} for symbol in (";", "\t", "|", " ", "^", "-", "]")),
        *({"encoding": name} for name in ("cp1252", "latin-1", "cp1250", "gb18030", "UTF8")),
    ],
)
def test_any_separator_and_any_encoding_that_extends_ascii(
    read, options: dict[str, str], file: Path
) -> None:
    separator = options.get("separator", ",")
    text = f'name{separator}country\n"X,;|^-]ü"{separator}Italy\n'
    file.write_text(text, options.get("encoding", "utf-8"))
    assert read(file, **options) == ([("X,;|^-]ü", "Italy")], [])


@both
def test_bytes_that_an_encoding_does_not_have_are_refused(read, file: Path) -> None:
    file.write_bytes(b"name,country\nR\x81ssi,Italy\nWeber,Germany\n")
    assert read(file, encoding="cp1252") == ([("Weber", "Germany")], [(2, "not CP1252")])


def test_a_file_that_changes_or_goes_while_it_is_read_is_refused(file: Path) -> None:
    for change, said in (
        (lambda: file.write_bytes(b"name,country\nRossi,Italy\nWeber,Germany\n"), "changed while"),
        (file.unlink, "No such file"),
    ):
        file.write_bytes(b"name,country\nRossi,Italy\n")
        blocks = Table(file).blocks([0, 1])
        next(blocks)
        change()
        with pytest.raises(UserError, match=rf"names\.csv: {said}"):
            list(blocks)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; its first line must name the columns"),
        (b"id;name\n1;Abe\n", "separated by ';', set --separator"),
        (b"id\tname\n1\tAbe\n", r"separated by '\\t', set --separator"),
        (b"M\xfcller\nAbe\n", "set --encoding"),
        (b"other\nx\n", r"has no column 'name'; use --column, one of: other \(or --no-header, if"),
        (b"name,name\nx,y\n", "has two columns 'name'"),
    ],
)
def test_a_header_that_does_not_fit_is_told_with_the_option(
    content: bytes, said: str, file: Path
) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=said):
        Table(file).check_text("name")


# Names in all scripts, and the characters that a CSV could trip over.
texts = st.text(
    st.one_of(st.sampled_from("ab ,\"'éЖ王=\t\\\n"), st.characters(categories=["Lu", "Ll", "Lo"])),
    min_size=1,
    max_size=8,
)


@given(st.lists(st.tuples(texts, texts), max_size=12), st.sampled_from([0, 1]))
def test_rows_are_cut_as_the_csv_module_cuts_them(
    rows: list[tuple[str, str]], quoting: int
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    whole, starts, _ = whole_rows(cut(text.getvalue().encode()), 2, Format())
    columns, reasons = split(Block("file", whole, starts))
    assert reasons.null_count == len(rows)
    assert [*zip(*(column.to_pylist() for column in columns), strict=True)] == rows


LINES = [b"Rossi,Italy", b'"M\xc3\xbcller","Germany"', b"", b",", b'"', b"a,b,c", b"\xff,x"]
LINES += [b"x,y\r", b'x,"y', b'z",w', b'5" disk,"y', b'a,b"""']


@pytest.mark.slow
@given(st.lists(st.sampled_from(LINES), max_size=15), st.integers(1, 40), st.booleans())
def test_small_blocks_give_what_one_block_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int, end: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.csv"
    path.write_bytes(b"\n".join([b"name,country", *lines]) + b"\n" * end)
    whole = by_ingest(path), by_predict(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_BYTES", size)
        patch.setattr(tables, "BATCH_BYTES", size)
        assert (by_ingest(path), by_predict(path)) == whole


def test_a_file_without_header_loses_no_row(file: Path) -> None:
    file.write_text("\nRossi,Italy\nMüller,Germany\n", "utf-8")
    assert by_predict(file, header=False) == (TWO, [])
    with pytest.raises(UserError, match=r"no column 'name'; use --column, one of: 1, 2$"):
        Table(file, Format(header=False)).check_text("name")
