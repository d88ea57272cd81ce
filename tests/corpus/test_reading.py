"""The CSV reader: every odd input has a defined outcome."""

import csv
import gzip
import io
import os
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.core.params import IngestParams, Params
from stages.corpus import tables
from stages.corpus.normalize import Rejected, clean_country, normalise
from stages.corpus.reading import parse, read
from stages.corpus.rows import Block
from tests.conftest import ROOT

NFC = Params.load(ROOT / "params.yaml").ingest


def layout(**changes: object) -> IngestParams:
    """The parameters of params.yaml, some of them changed."""
    return IngestParams.model_validate(NFC.model_dump() | changes)


class Found(NamedTuple):
    rows: list[tuple[str, str]]
    rejects: list[tuple[int, str]]


def collect(
    source: Path | str, params: IngestParams = NFC, known: frozenset[str] | None = None
) -> Found:
    found = Found([], [])
    for rows, rejects, _ in read(str(source), params, known):
        found.rows.extend(rows.itertuples(index=False, name=None))
        found.rejects.extend(rejects[["line", "reason"]].itertuples(index=False, name=None))
    return found


@pytest.fixture
def reading(tmp_path: Path) -> Callable[..., Found]:
    """Read bytes as a file."""

    def reading(
        content: bytes, params: IngestParams = NFC, known: frozenset[str] | None = None
    ) -> Found:
        path = tmp_path / "names.csv"
        path.write_bytes(content)
        return collect(path, params, known)

    return reading


TWO = [("Rossi", "Italy"), ("Müller", "Germany")]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("Rossi,Italy\nMüller,Germany\n", TWO),
        ("Rossi,Italy\nMüller,Germany", TWO),
        ("Rossi,Italy\r\nMüller,Germany\r\n", TWO),
        ('"Rossi","Italy"\n"Müller","Germany"\n', TWO),
        ('Rossi,"Italy"\n"Müller",Germany\n', TWO),
        ("\ufeffRossi,Italy\nMüller,Germany\n", TWO),
        ('\ufeff"name","country"\r\n"Rossi","Italy"\r\nMüller,Germany\r\n', TWO),
        ("Surname, Nationality\nRossi,Italy\nMüller,Germany\n", TWO),
        ("\n\nname,country\nRossi,Italy\n\n\nMüller,Germany\n\n", TWO),
        ("  Rossi\t,Italy \nMu\u0308ller,Germany\n", TWO),
        ('"de ""Vries""",Netherlands\n', [('de "Vries"', "Netherlands")]),
        ('"Smith, Jr",England\n', [("Smith, Jr", "England")]),
        ("O'Neil,Ireland\n", [("O'Neil", "Ireland")]),
        ("Ro\ufffdssi,Italy\nMüller,Germany\n", [("Ro\ufffdssi", "Italy"), TWO[1]]),
        ("=cmd(),Chad\n@x,Mali\n", [("=Cmd()", "Chad"), ("@X", "Mali")]),  # text, never run
    ],
)
def test_every_spelling_of_a_csv_is_read(
    content: str, rows: list[tuple[str, str]], reading: Callable[..., Found]
) -> None:
    for data in (content.encode(), gzip.compress(content.encode())):
        assert reading(data) == Found(rows, [])


@pytest.mark.parametrize(("header", "count"), [("yes", 1), ("no", 2), ("auto", 2)])
def test_the_header_is_what_params_say(
    header: str, count: int, reading: Callable[..., Found]
) -> None:
    assert len(reading(b"Rossi,Italy\nWeber,Germany\n", layout(header=header)).rows) == count


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b",Italy", "empty name"),
        (b'"",Italy', "empty name"),
        (b" \t,Italy", "empty name"),
        (b"Rossi,", "empty country"),
        (b"Rossi", "1 fields instead of 2"),
        (b"a,b,c", "3 fields instead of 2"),
        (b"Ros\xffsi,Italy", "not UTF-8"),
        (b"Rossi,It\xc3", "not UTF-8"),
        (b'"M\xfcller ""x""",Germany', "not UTF-8"),
        (b"Ro\0ssi,Italy", "control character in name"),
        (b"\x1b,Italy", "control character in name"),
        (b"\x85,Italy", "not UTF-8"),
        (b"\xc2\x85,Italy", "control character in name"),
        (b"Rossi,It\x1baly", "control character in country"),
        ("Ro\u2028ssi,Italy".encode(), "control character in name"),
        (b"x" * 101 + b",Italy", "name longer than 100 characters"),
        (b"Rossi," + b"x" * 101, "country longer than 100 characters"),
        (b"Rossi,=Italy", "country does not print, or begins as a spreadsheet's formula"),
        (
            "Rossi,It\u202ealy".encode(),
            "country does not print, or begins as a spreadsheet's formula",
        ),
        (b"x" * 1_000_000 + b",Italy", "name longer than 100 characters"),
        (b'"' + b'""' * 400_000 + b'",Italy', "a field longer than 131072 characters"),
        (b'"Rossi,Italy', "a quote is not closed"),
        (b'"Rossi"x,Italy', "broken quotes"),
        (b"Rossi,Italy\rWeber,Germany", "carriage return within the line"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_and_the_others_are_kept(
    line: bytes, reason: str, reading: Callable[..., Found]
) -> None:
    content = b"Rossi,Italy\n" + line + b"\nWeber,Germany\n"
    assert reading(content) == Found([("Rossi", "Italy"), ("Weber", "Germany")], [(2, reason)])


def test_a_country_that_training_does_not_know_is_refused(reading: Callable[..., Found]) -> None:
    found = reading(b"Rossi,Italy\nDiop,Senegal\n", known=frozenset({"Italy"}))
    assert found == Found([("Rossi", "Italy")], [(2, "country not in the training data")])


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_utf_16_is_named_with_the_way_out(mark: bytes, reading: Callable[..., Found]) -> None:
    with pytest.raises(UserError, match=r"names\.csv: is UTF-16; convert it to UTF-8"):
        reading(mark + "Rossi,Italy\n".encode("utf-16-le"))


def test_utf_16_without_a_mark_is_refused_row_by_row(reading: Callable[..., Found]) -> None:
    found = reading("Rossi,Italy\nWeber,Germany\n".encode("utf-16-le"))
    assert not found.rows and len(found.rejects) == 3


def test_a_line_longer_than_the_limit_fails_and_is_named(reading: Callable[..., Found]) -> None:
    with pytest.raises(UserError, match=r"names\.csv: line 2 is longer than 1048576 bytes"):
        reading(b"Rossi,Italy\n" + b"x" * 2**20 + b"x,Italy\n")


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_a_truncated_gzip_is_named(keep: float, reading: Callable[..., Found]) -> None:
    whole = gzip.compress(os.urandom(20_000).hex().encode() + b",x\n")
    with pytest.raises(UserError, match=r"names\.csv: broken gzip after line 0: "):
        reading(whole[: int(len(whole) * keep)], layout(max_row_bytes=2**20))


def test_a_gzip_with_garbage_in_it_is_named(reading: Callable[..., Found]) -> None:
    whole = bytearray(gzip.compress(b"Rossi,Italy\n" * 1000))
    for damaged in (whole[:-8] + b"\0" * 8, whole + b"garbage", whole[:12] + b"\xff" * 40):
        with pytest.raises(UserError, match=r"names\.csv: broken gzip after line \d+: "):
            reading(bytes(damaged))


def test_random_bytes_are_refused_not_read(reading: Callable[..., Found]) -> None:
    found = reading(b"\x89PNG" + bytes(range(256)) * 4)
    assert not found.rows and found.rejects


def test_a_gzip_that_inflates_without_end_stops_soon_in_little_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.csv.gz"
    block = gzip.compress(b"x" * 2**24)
    bomb.write_bytes(block * 200)  # 3 MB that inflate to 3 GB of one line
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(UserError, match="line 1 is longer than 1048576 bytes"):
        collect(bomb)
    assert time.monotonic() - start < 10
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_an_empty_file_has_no_rows_and_a_one_row_file_has_one(
    reading: Callable[..., Found],
) -> None:
    for empty in (b"", b"\n\n", b"\xef\xbb\xbf", gzip.compress(b""), b"name,country\n"):
        assert reading(empty) == Found([], [])
    assert reading(b"Rossi,Italy").rows == [("Rossi", "Italy")]


def test_a_file_that_changes_while_it_is_read_fails(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_bytes(b"Rossi,Italy\n")
    chunks = read(str(path), NFC)
    next(chunks)
    path.write_bytes(b"Rossi,Italy\nWeber,Germany\n")
    with pytest.raises(UserError, match=r"names\.csv: changed while it was read; run again"):
        list(chunks)


def test_a_file_that_goes_while_it_is_read_fails(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_bytes(b"Rossi,Italy\n")
    chunks = read(str(path), NFC)
    next(chunks)
    path.unlink()
    with pytest.raises(UserError, match=r"names\.csv: "):
        next(chunks)


def test_a_path_a_folder_a_glob_and_a_url_name_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw/deep").mkdir(parents=True)
    (tmp_path / "raw/b.csv").write_bytes(b"Rossi,Italy\n")
    (tmp_path / "raw/a.csv.gz").write_bytes(gzip.compress(b"Weber,Germany\n"))
    (tmp_path / "raw/notes.txt").write_bytes(b"not,this\n")
    both = [("Weber", "Germany"), ("Rossi", "Italy")]
    for source in ("raw", tmp_path / "raw", "raw/*.csv*", f"file://{tmp_path}/raw"):
        assert collect(source).rows == both
    assert collect("raw/b.csv").rows == collect(f"file://{tmp_path}/raw/b.csv").rows == both[1:]


@pytest.mark.parametrize("source", ["nowhere.csv", "*.csv", "empty", "odd://x/y", "file:///none"])
def test_a_source_without_a_file_is_named(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=source.replace("*", r"\*")):
        collect(source)


# Names in all scripts, and the characters that a CSV could trip over.
texts = st.text(
    st.one_of(st.sampled_from("ab ,\"'éЖ王=\t\\"), st.characters(categories=["Lu", "Ll", "Lo"])),
    min_size=1,
    max_size=8,
)


@given(st.lists(st.tuples(texts, texts), max_size=12), st.sampled_from([0, 1]))
@settings(deadline=None, derandomize=True)
def test_regular_rows_are_cut_as_python_s_csv_module_cuts_them(
    rows: list[tuple[str, str]], quoting: int
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    expected = []
    for name, country in csv.reader(io.StringIO(text.getvalue())):
        with suppress(Rejected):
            expected.append((normalise(name, "nfc", 100), clean_country(country, 100)))
    found = parse(Block("file", 1, text.getvalue().encode()), NFC)
    assert [*found.rows.itertuples(index=False, name=None)] == expected
    assert len(found.rows) + len(found.rejects) == len(rows)


lines = st.lists(
    st.sampled_from(
        [
            b"Rossi,Italy",
            b'"M\xc3\xbcller","Germany"',
            b"",
            b",",
            b'"',
            b"a,b,c",
            b"\xff,x",
            b"x,y\r",
        ]
    ),
    max_size=15,
)


@pytest.mark.slow
@given(lines, st.integers(1, 40), st.booleans())
@settings(deadline=None, derandomize=True)
def test_small_blocks_give_what_one_block_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int, end: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.csv"
    path.write_bytes(b"\n".join(lines) + b"\n" * end)
    whole = collect(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_BYTES", size)
        assert collect(path) == whole
