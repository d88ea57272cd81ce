"""Gzip or plain CSVs of ``name,country`` as chunks of clean rows, in bounded memory.

Lines of the common form (two fields, each bare or in one pair of quotes) are cut by numpy; only
the others go through the csv module, line by line. Text is decoded and normalised once per
distinct value in a chunk, since surnames repeat.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import fsspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.core.names import Form, Rejected, clean, normalise

BLOCK_BYTES = 4 * 2**20
SUFFIXES = (".csv", ".csv.gz")
Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]
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
    """Some rows of one file, in its order."""

    names: pa.StringArray
    countries: pa.StringArray
    rejects: list[Reject] = field(default_factory=list)

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


def read(source: str, layout: Format, known: frozenset[str] | None = None) -> Iterator[Chunk]:
    """Read every file of ``source``, chunk by chunk.

    Args:
        source: path, folder, glob or fsspec URL.
        layout: how to read them.
        known: if given, rows of any other country are rejected.

    Raises:
        UserError: a file is missing, unreadable, broken, or changes while it is read.
    """
    for file in files_of(source):
        before = _state(file)
        for first_line, block in _blocks(file, layout):
            yield parse(block, file, first_line, layout, known)
        if _state(file) != before:
            raise UserError(f"{file}: changed while it was read; run again")


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
                    line += block.count(b"\n")
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
    text = np.frombuffer(block, dtype=np.uint8)
    starts, ends = _lines(text)
    if len(starts) and int((ends - starts).max()) > layout.max_row_bytes:
        raise _too_long(file, first_line + int((ends - starts).argmax()), layout)
    numbers = np.arange(first_line, first_line + len(starts))
    filled = ends > starts
    if first_line == 1 and filled.any():
        row = int(filled.argmax())
        filled[row] = not _is_header(block[starts[row] : ends[row]], layout)
    starts, ends, numbers = starts[filled], ends[filled], numbers[filled]

    regular, commas = _regular(text, starts, ends)
    names, countries = _cut(text, starts[regular], commas[regular], ends[regular])
    places = np.flatnonzero(regular)
    rejects: list[Reject] = []
    extra: list[tuple[int, bytes, bytes]] = []
    for row in np.flatnonzero(~regular).tolist():
        try:
            extra.append((row, *_csv_fields(block[starts[row] : ends[row]])))
        except Rejected as reason:
            rejects.append(Reject(file, int(numbers[row]), str(reason)))
    if extra:
        rows, more_names, more_countries = zip(*extra, strict=True)
        places = np.concatenate([places, rows])
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
        names, lambda text: normalise(text, layout.form, layout.max_length)
    )
    countries, bad_countries = _each_distinct(countries, clean_country)
    bad = bad_countries | bad_names
    rejects += [Reject(file, int(numbers[places[row]]), bad[row]) for row in bad]
    keep = np.ones(len(names), dtype=bool)
    keep[list(bad)] = False
    rejects.sort(key=lambda reject: reject.line)
    return Chunk(names.filter(keep), countries.filter(keep), rejects)


def _lines(text: Bytes) -> tuple[Places, Places]:
    """Where each line begins and where its content ends (before LF or CRLF)."""
    ends = np.flatnonzero(text == ord("\n"))
    starts = np.concatenate([[0], ends + 1])
    if len(text) > starts[-1]:
        ends = np.append(ends, len(text))
    starts = starts[: len(ends)]
    carriage = (ends > starts) & (text[np.maximum(ends - 1, 0)] == ord("\r"))
    return starts, ends - carriage


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
    values: pa.BinaryArray, mend: Callable[[str], str]
) -> tuple[pa.StringArray, dict[int, str]]:
    """Decode and ``mend`` each distinct value once: (null where rejected, row -> reason)."""
    encoded = values.dictionary_encode()
    mended: list[str | None] = []
    reasons: dict[int, str] = {}
    for value in encoded.dictionary.to_pylist():
        try:
            mended.append(mend(value.decode("utf-8")))
        except UnicodeDecodeError:
            reasons[len(mended)] = "not UTF-8"
            mended.append(None)
        except Rejected as reason:
            reasons[len(mended)] = str(reason)
            mended.append(None)
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    bad = np.flatnonzero(np.isin(indices, list(reasons)))
    column = pa.array(mended, pa.string()).take(encoded.indices)
    return column, {int(row): reasons[int(indices[row])] for row in bad}
