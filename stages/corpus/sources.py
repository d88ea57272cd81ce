"""Files of names and countries as blocks of rows: found, inflated and cut in bounded memory."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.core.errors import UserError, brief
from stages.core.params import IngestParams
from stages.corpus.headers import TWO_COLUMNS, Places, places_of, split_line

BLOCK_BYTES = 8 * 2**20  # more rows, more of them alike; but each block is in memory as a whole
BLOCK_ROWS = 2**18  # of Parquet
SUFFIXES = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True)
class Block:
    """Some rows of one file as they stand there.

    Attributes:
        file: path or URL.
        first: number of the first line (of a CSV) or row (of Parquet); both count from 1.
        content: whole lines of a CSV; or names and countries as two columns of bytes.
        places: where in a line these stand.
    """

    file: str
    first: int
    content: bytes | tuple[pa.Array, pa.Array]
    places: Places = TWO_COLUMNS


def files_of(source: str) -> list[str]:
    """The files behind a path, a folder, a glob or an fsspec URL, in a fixed order.

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
        raise UserError(f"{source}: no such CSV or Parquet; set ingest.train and ingest.test")
    if "://" not in source:
        # Keep the paths as relative as they came: they are written to rejected.csv.
        return sorted(found) if "*" in path or system.isdir(path) else [source]
    return [system.unstrip_protocol(name) for name in sorted(found)]


def blocks(source: str, params: IngestParams) -> Iterator[Block]:
    """Read every file of ``source``, block by block, without header lines.

    Raises:
        UserError: a file is missing, unreadable or broken, has no such columns, or changes while
            it is read.
    """
    for file in files_of(source):
        before = _state(file)
        try:
            with fsspec.open(file, "rb") as raw:
                kind = raw.read(4)
                raw.seek(0)
                if kind == b"PK\x03\x04":
                    raise UserError(f"{file}: is an Excel workbook or a zip; save it as CSV")
                yield from (_parquet if kind == b"PAR1" else _csv)(file, raw, params)
        except OSError as error:
            raise UserError(f"{file}: {error.strerror or brief(error, 200)}") from None
        if _state(file) != before:
            raise UserError(f"{file}: changed while it was read; run again")


def _state(file: str) -> list[Any]:
    """What changes with the file's content, as far as its file system tells cheaply."""
    try:
        system, path = fsspec.core.url_to_fs(file)
        info = system.info(path)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from None
    return [info.get(key) for key in ("size", "mtime", "ino", "ETag")]


def _csv(file: str, raw: BinaryIO, params: IngestParams) -> Iterator[Block]:
    places: Places | None = None
    for first, lines in _cut(file, raw, params.max_row_bytes):
        if not places:
            start = re.match(rb"(\r?\n)*", lines).end()  # type: ignore[union-attr]
            if start == len(lines):
                continue
            end = lines.find(b"\n", start) + 1 or len(lines)
            cells = split_line(
                lines[start:end].decode(params.encoding, "replace").strip(), params.separator
            )
            line = first + lines.count(b"\n", 0, start)
            places, header = places_of(cells, f"{file}, line {line}", params)
            if header:
                first, lines = line + 1, lines[end:]
        if lines:
            yield Block(file, first, lines, places)


def _cut(file: str, raw: BinaryIO, longest: int) -> Iterator[tuple[int, bytes]]:
    """Cut the inflated file at line ends: number of the first line, whole lines."""
    line, rest = 1, b""
    try:
        buffered = io.BufferedReader(raw, BLOCK_BYTES)  # type: ignore[type-var]
        # Look at the first bytes, not at the name: a plain file may be called .gz and back.
        zipped = buffered.peek(2).startswith(b"\x1f\x8b")
        stream: Any = gzip.GzipFile(fileobj=buffered) if zipped else buffered
        rest = stream.read(3).removeprefix(b"\xef\xbb\xbf")  # a byte order mark
        if rest.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UserError(f"{file}: is UTF-16; convert it to UTF-8 (iconv -f utf-16 -t utf-8)")
        while piece := stream.read(BLOCK_BYTES):
            end = piece.rfind(b"\n") + 1
            if not end and len(rest) + len(piece) > longest:
                raise too_long(file, line, longest)
            lines, rest = (rest + piece[:end], piece[end:]) if end else (b"", rest + piece)
            if lines:
                yield line, lines
                line += lines.count(b"\n")
        if rest:
            yield line, rest
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{file}: broken gzip after line {line - 1}: {error}") from None


def too_long(file: str, line: int, longest: int) -> UserError:
    """The error of a line of more than ``longest`` bytes."""
    return UserError(
        f"{file}: line {line} is longer than {longest} bytes (ingest.max_row_bytes); "
        "is this a CSV of name,country?"
    )


def _parquet(file: str, raw: BinaryIO, params: IngestParams) -> Iterator[Block]:
    try:
        table = pq.ParquetFile(raw)
        cells = table.schema_arrow.names
        places, header = places_of(cells, file, params.model_copy(update={"header": "auto"}))
        if not header:
            raise UserError(f"{file}: columns {brief(','.join(cells))}; set ingest.columns")
        wanted = [cells[places.name], cells[places.country]]
        first = 1
        for batch in table.iter_batches(BLOCK_ROWS, columns=wanted):
            name, country = (_bytes(batch[cell], f"{file}: {cell}") for cell in wanted)
            yield Block(file, first, (name, country))
            first += len(batch)
    except pa.ArrowException as error:
        raise UserError(f"{file}: broken Parquet: {brief(error, 200)}") from None


def _bytes(column: pa.Array, where: str) -> pa.Array:
    """A column of text as bytes; nothing where it is null."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if kind not in (pa.string(), pa.large_string(), pa.string_view(), pa.null()):
        raise UserError(f"{where}: is {brief(kind)}, not text; set ingest.columns")
    return pc.fill_null(column.cast(pa.large_string()).cast(pa.large_binary()), b"")
