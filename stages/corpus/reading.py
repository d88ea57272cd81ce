"""Gzip or plain CSVs of ``name,country`` as chunks of clean rows, in bounded memory.

Surnames repeat, and so do whole lines: all work on text is done once per distinct line of a
chunk, and decoding and normalising once per distinct name. Lines of the common form (two fields,
each bare or in one pair of quotes) are cut by numpy; only the others go through the csv module,
line by line.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.corpus.normalize import Form, Rejected, clean, normalise
from stages.corpus.spill import hashes, mix
from stages.corpus.texts import flat
from stages.corpus.workers import Workers

BLOCK_BYTES = 8 * 2**20  # more rows, more of them alike; but each block is in memory as a whole
SUFFIXES = (".csv", ".csv.gz")
Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]
# Of distinct lines: hash of the name, hash of name and country, how many rows.
KEYS = np.dtype([("key", "<u8"), ("pair", "<u8"), ("rows", "<u4")])
HEADERS = ({"name", "surname", "last_name", "lastname"}, {"country", "nationality", "origin"})


@dataclass(frozen=True)
class Format:
    """What the files look like and what a name must be (see ``ingest`` in params.yaml)."""

    header: str = "auto"
    form: Form = "nfc"
    max_length: int = 100
    max_row_bytes: int = 2**20


@dataclass(frozen=True)
class Reject:
    """A row that is not used: where it stands (lines count from 1) and why."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class Chunk:
    """Some rows of one file, in its order.

    Attributes:
        names: (rows kept,) dictionary-encoded, the distinct ones in the order of their coming.
        countries: (rows kept,) the same.
        keys: of `KEYS`, counts to tell repetitions by.
        rejects: the other rows.
    """

    names: pa.DictionaryArray
    countries: pa.DictionaryArray
    keys: NDArray[np.void]
    rejects: list[Reject]

    @property
    def rows(self) -> int:
        """How many rows were read: kept and rejected."""
        return len(self.names) + len(self.rejects)


def files_of(source: str) -> list[str]:
    """The CSV files behind a path, a folder, a glob or an fsspec URL, in a fixed order.

    Raises:
        UserError: there is none.
    """
    try:
        system, path = fsspec.core.url_to_fs(source)
        if "*" in path:
            found = system.glob(path)
        elif system.isdir(path):
            found = [name for name in system.find(path) if name.endswith(SUFFIXES)]
        else:
            found = [path] if system.exists(path) else []
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{source}: {error}") from None
    if not found:
        raise UserError(f"{source}: no such CSV file; set ingest.train and ingest.test")
    if "://" not in source:
        # Keep the paths as relative as they came: they are written to rejected.csv.
        return sorted(found) if "*" in path or system.isdir(path) else [source]
    return [system.unstrip_protocol(name) for name in sorted(found)]


def read(
    source: str,
    layout: Format,
    known: frozenset[str] | None = None,
    workers: Workers | None = None,
) -> Iterator[Chunk]:
    """Read every file of ``source``, chunk by chunk.

    Args:
        source: path, folder, glob or fsspec URL.
        layout: how to read them.
        known: if given, rows of any other country are rejected.
        workers: if given, parse there; the chunks are the same in the same order.

    Raises:
        UserError: a file is missing, unreadable, broken, or changes while it is read.
    """
    parse_one = partial(_parse, layout=layout, known=known)
    yield from (workers.map if workers else map)(parse_one, _pieces(source, layout))


def _pieces(source: str, layout: Format) -> Iterator[tuple[bytes, str, int]]:
    """Blocks of all files, as `parse` takes them."""
    for file in files_of(source):
        before = _state(file)
        for first_line, block in _blocks(file, layout):
            yield block, file, first_line
        if _state(file) != before:
            raise UserError(f"{file}: changed while it was read; run again")


def _parse(piece: tuple[bytes, str, int], layout: Format, known: frozenset[str] | None) -> Chunk:
    return parse(*piece, layout, known)


def _state(file: str) -> object:
    """What changes with the file's content, as far as its file system tells cheaply."""
    try:
        system, path = fsspec.core.url_to_fs(file)
        info = system.info(path)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from None
    return [info.get(key) for key in ("size", "mtime", "ino", "ETag")]


def _blocks(file: str, layout: Format) -> Iterator[tuple[int, bytes]]:
    """Cut the inflated file at line ends: (number of the first line, whole lines)."""
    line, rest, at_start = 1, b"", True
    try:
        with fsspec.open(file, "rb") as raw, _inflated(raw) as stream:
            while piece := stream.read(BLOCK_BYTES):
                if at_start:
                    piece, at_start = _without_mark(file, piece), False
                end = piece.rfind(b"\n") + 1
                if len(rest) + (end or len(piece)) > layout.max_row_bytes and not end:
                    raise _too_long(file, line, layout)
                if end:
                    block = rest + piece[:end]
                    yield line, block
                    line += int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))
                    rest = piece[end:]
                else:
                    rest += piece
        if rest:
            yield line, rest
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{file}: broken gzip after line {line - 1}: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from None


def _inflated(raw: BinaryIO) -> BinaryIO:
    """Look at the first bytes, not at the name: a plain file may be called .gz and back."""
    buffered = io.BufferedReader(cast(io.RawIOBase, raw), BLOCK_BYTES)
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        return cast(BinaryIO, gzip.GzipFile(fileobj=buffered))
    return buffered


def _without_mark(file: str, start: bytes) -> bytes:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{file}: is UTF-16; convert it to UTF-8 (iconv -f utf-16 -t utf-8)")
    return start.removeprefix(b"\xef\xbb\xbf")


def _too_long(file: str, line: int, layout: Format) -> UserError:
    return UserError(
        f"{file}: line {line} is longer than {layout.max_row_bytes} bytes (ingest.max_row_bytes); "
        "is this a CSV of name,country?"
    )


def parse(
    block: bytes, file: str, first_line: int, layout: Format, known: frozenset[str] | None = None
) -> Chunk:
    """Turn whole lines into clean rows and rejects; pure, so that blocks can go in parallel."""
    lines = _lines(block)
    if first_line == 1:
        skipped = _header_lines(lines, layout)
        lines, first_line = lines[skipped:], first_line + skipped
    encoded = lines.dictionary_encode()
    line_of_row = encoded.indices.to_numpy()
    text, starts, ends = _contents(encoded.dictionary)
    if len(starts) and int((ends - starts).max()) > layout.max_row_bytes:
        longest = line_of_row == (ends - starts).argmax()
        raise _too_long(file, first_line + int(longest.argmax()), layout)

    kept, names, countries, reasons = _clean_lines(text, starts, ends, layout, known)
    place = np.full(len(starts), -1, dtype=np.int32)  # of a line among those that are kept
    place[kept] = np.arange(len(kept))
    place_of_row = place[line_of_row]
    place_of_row = place_of_row[place_of_row >= 0]
    names, countries = names.dictionary_encode(), countries.dictionary_encode()
    bad = np.flatnonzero(np.isin(line_of_row, [*reasons])).tolist()
    return Chunk(
        _repeated(names, place_of_row),
        _repeated(countries, place_of_row),
        _keys(names, countries, np.bincount(place_of_row, minlength=len(names))),
        [Reject(file, first_line + row, reasons[int(line_of_row[row])]) for row in bad],
    )


def _lines(block: bytes) -> pa.BinaryArray:
    """All lines with their ends, as they lie in the block."""
    edges = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")) + 1
    last = [] if not block or block.endswith(b"\n") else [len(block)]
    offsets = np.concatenate([[0], edges, last]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _header_lines(lines: pa.BinaryArray, layout: Format) -> int:
    """How many lines the header takes, with the empty ones before it."""
    for number, line in enumerate(lines):
        content = line.as_py().removesuffix(b"\n").removesuffix(b"\r")
        if content:
            return number + 1 if _is_header(content, layout) else 0
    return 0


def _contents(lines: pa.BinaryArray) -> tuple[Bytes, Places, Places]:
    """The text of all lines, and where each begins and ends without its LF or CRLF."""
    text, edges = flat(lines)
    starts, ends = edges[:-1], edges[1:].copy()
    for mark in b"\n\r":
        ends -= (ends > starts) & (text[np.maximum(ends - 1, 0)] == mark)
    return text, starts, ends


def _clean_lines(
    text: Bytes, starts: Places, ends: Places, layout: Format, known: frozenset[str] | None
) -> tuple[Places, pa.StringArray, pa.StringArray, dict[int, str]]:
    """Cut lines into clean names and countries.

    Returns:
        kept: (lines kept,) their places in ``starts``; empty lines are neither kept nor refused.
        names: (lines kept,)
        countries: (lines kept,)
        reasons: place of each refused line -> why.
    """
    regular, commas = _regular(text, starts, ends)
    names, countries = _cut(text, starts[regular], commas[regular], ends[regular])
    places = np.flatnonzero(regular)
    reasons: dict[int, str] = {}
    extra: list[tuple[int, bytes, bytes]] = []
    for line in np.flatnonzero(~regular & (ends > starts)).tolist():
        try:
            extra.append((line, *_csv_fields(text[starts[line] : ends[line]].tobytes())))
        except Rejected as reason:
            reasons[line] = str(reason)
    if extra:
        more, more_names, more_countries = zip(*extra, strict=True)
        places = np.concatenate([places, more])
        order = np.argsort(places)
        places = places[order]
        names = pa.concat_arrays([names, pa.array(more_names, pa.binary())]).take(order)
        countries = pa.concat_arrays([countries, pa.array(more_countries, pa.binary())]).take(order)

    def clean_country(text: str) -> str:
        country = clean(text, "country", layout.max_length)
        if known is not None and country not in known:
            raise Rejected("country not in the training data")
        return country

    names, bad_names = _each_distinct(
        names,
        partial(normalise, form=layout.form, max_length=layout.max_length),
        layout.max_length,
    )
    countries, bad_countries = _each_distinct(countries, clean_country)
    bad = bad_countries | bad_names
    reasons |= {int(places[line]): reason for line, reason in bad.items()}
    good = np.ones(len(places), dtype=bool)
    good[[*bad]] = False
    return places[good], names.filter(good), countries.filter(good), reasons


def _repeated(encoded: pa.DictionaryArray, places: NDArray[np.int32]) -> pa.DictionaryArray:
    """``encoded.take(places)``, in a third of the time."""
    indices = encoded.indices.to_numpy()[places]
    return pa.DictionaryArray.from_arrays(indices, encoded.dictionary)


def _keys(
    names: pa.DictionaryArray, countries: pa.DictionaryArray, rows: NDArray[np.int64]
) -> NDArray[np.void]:
    """Records of `KEYS` of lines that stand for so many rows each."""
    name, country = (
        hashes(column.dictionary)[column.indices.to_numpy()] for column in (names, countries)
    )
    keys = np.empty(len(rows), dtype=KEYS)
    keys["key"], keys["pair"], keys["rows"] = name, mix(name, country), rows
    return keys


def _is_header(line: bytes, layout: Format) -> bool:
    if layout.header != "auto":
        return layout.header == "yes"
    cells = [cell.strip(b' "\t').lower() for cell in line.split(b",")]
    words = [cell.decode("utf-8", "replace") for cell in cells]
    return len(words) == 2 and all(
        word in known for word, known in zip(words, HEADERS, strict=True)
    )


def _regular(text: Bytes, starts: Places, ends: Places) -> tuple[Mask, Places]:
    """Which lines are two fields, bare or each in one pair of quotes; and their comma's place."""
    commas, quotes = (np.flatnonzero(text == ord(mark)) for mark in ',"')
    first = np.searchsorted(commas, starts)
    one = np.searchsorted(commas, ends) - first == 1
    comma = np.append(commas, 0)[np.where(one, first, -1)]
    comma = np.where(one, comma, starts)
    paired = _quoted(text, starts, comma).astype(int) + _quoted(text, comma + 1, ends)
    total = np.searchsorted(quotes, ends) - np.searchsorted(quotes, starts)
    return one & (total == 2 * paired), comma


def _quoted(text: Bytes, starts: Places, ends: Places) -> Mask:
    last = len(text) - 1
    opens = text[np.minimum(starts, last)] == ord('"')
    closes = text[np.clip(ends - 1, 0, last)] == ord('"')
    return cast(Mask, opens & closes & (ends - starts >= 2))


def _cut(
    text: Bytes, starts: Places, commas: Places, ends: Places
) -> tuple[pa.BinaryArray, pa.BinaryArray]:
    """Both fields of regular lines, without their quotes and without a copy per line."""
    first = _quoted(text, starts, commas)
    second = _quoted(text, commas + 1, ends)
    # Name, gap, country, gap, name, ...: one array whose elements touch, as Arrow wants them.
    edges = np.zeros(4 * len(starts) + 1, dtype=np.int32)
    edges[0:-1:4], edges[1::4] = starts + first, commas - first
    edges[2::4], edges[3::4] = commas + 1 + second, ends - second
    edges[-1] = len(text)
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(text)]
    pieces = pa.Array.from_buffers(pa.binary(), 4 * len(starts), buffers)
    rows = np.arange(0, 4 * len(starts), 4)
    return pieces.take(rows), pieces.take(rows + 2)


def _csv_fields(line: bytes) -> tuple[bytes, bytes]:
    if len(line) > csv.field_size_limit():
        raise Rejected(f"odd line longer than {csv.field_size_limit()} bytes")
    if b"\r" in line:
        raise Rejected("carriage return within the line")
    try:
        (fields,) = csv.reader([line.decode("utf-8", "surrogateescape")], strict=True)
    except (csv.Error, ValueError):
        raise Rejected("broken quotes") from None
    if len(fields) != 2:
        raise Rejected(f"{len(fields)} fields instead of 2")
    name, country = (field.encode("utf-8", "surrogateescape") for field in fields)
    return name, country


def _each_distinct(
    values: pa.BinaryArray, mend: Callable[[str], str], plain: int = 0
) -> tuple[pa.StringArray, dict[int, str]]:
    """Decode and ``mend`` each distinct value once: (null where rejected, place -> reason).

    Up to ``plain`` letters of ASCII need no mending; Arrow tells them faster than Python would.
    """
    encoded = values.dictionary_encode()
    distinct = encoded.dictionary
    text = distinct.view(pa.string())  # some of it is perhaps not UTF-8
    short = pc.less_equal(pc.binary_length(distinct), plain)
    odd = pc.invert(pc.and_(pc.ascii_is_alpha(text), short))
    mended: list[str | None] = []
    reasons: dict[int, str] = {}
    for place, value in zip(
        np.flatnonzero(odd).tolist(), distinct.filter(odd).to_pylist(), strict=True
    ):
        try:
            mended.append(mend(value.decode("utf-8")))
        except UnicodeDecodeError:
            reasons[place] = "not UTF-8"
            mended.append(None)
        except Rejected as reason:
            reasons[place] = str(reason)
            mended.append(None)
    column = pc.replace_with_mask(text, odd, pa.array(mended, pa.string())).take(encoded.indices)
    indices = encoded.indices.to_numpy()
    bad = np.flatnonzero(np.isin(indices, [*reasons])).tolist()
    return column, {place: reasons[int(indices[place])] for place in bad}
