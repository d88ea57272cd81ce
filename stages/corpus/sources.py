"""Files of names and countries as blocks of rows: found, inflated and cut in bounded memory."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.core.errors import UserError, brief
from stages.core.params import IngestParams
from stages.corpus.headers import TWO_COLUMNS, Places, find_columns, split_line

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


def blocks(source: str, params: IngestParams) -> Iterator[Block]:
    """Read every file of ``source``, block by block, without header lines.

    Args:
        source: path, folder, glob or fsspec URL.
        params: how to read them.

    Raises:
        UserError: a file is missing, unreadable or broken, has no such columns, or changes while
            it is read.
    """
    for file in files_of(source):
        system, path = fsspec.core.url_to_fs(file)
        try:
            before = system.info(path)
            with system.open(path, "rb") as raw:
                # Look at the first bytes, not at the name: a plain file may be called .gz and back.
                kind = raw.read(4)
                raw.seek(0)
                if kind == b"PK\x03\x04":
                    raise UserError(f"{file}: is an Excel workbook or a zip; save it as CSV")
                if kind == b"PAR1":
                    yield from _parquet(file, raw, params)
                elif kind.startswith(b"\x1f\x8b"):
                    yield from _csv(file, gzip.GzipFile(fileobj=raw), params)
                else:
                    yield from _csv(file, io.BufferedReader(raw), params)
            changed = system.info(path) != before
        except OSError as error:
            raise UserError(f"{file}: {error.strerror or brief(error, 200)}") from None
        if changed:
            raise UserError(f"{file}: changed while it was read; run again")


def files_of(source: str) -> list[str]:
    """The files behind a path, a folder, a glob or an fsspec URL, in a fixed order."""
    try:
        system, path = fsspec.core.url_to_fs(source)
        if system.isfile(path):
            return [source]  # as relative as it came: rejected.csv names it
        if "*" in path:
            found = system.glob(path)
        else:
            found = [name for name in system.find(path) if name.endswith(SUFFIXES)]
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{source}: {error}") from None
    if not found:
        raise UserError(f"{source}: no such CSV or Parquet; set ingest.train and ingest.test")
    return [system.unstrip_protocol(name) if "://" in source else name for name in sorted(found)]


def _csv(file: str, stream: Any, params: IngestParams) -> Iterator[Block]:
    places: Places | None = None
    for first, lines in _cut(file, stream, params.max_row_bytes):
        if not places:
            if lines.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise UserError(
                    f"{file}: is UTF-16; convert it to UTF-8 (iconv -f utf-16 -t utf-8)"
                )
            lines = lines.removeprefix(codecs.BOM_UTF8)
            text = lines.lstrip(b"\r\n")
            if not text:
                continue
            row, _, rows = text.partition(b"\n")
            line = first + lines.count(b"\n") - text.count(b"\n")
            fields = split_line(row.decode(params.encoding, "replace"), params.separator)
            places = find_columns(fields, f"{file}, line {line}", params)
            too_long = len(row) > params.max_row_bytes  # then `parse` refuses the file
            if (places or params.header == "yes") and not too_long:
                first, lines = line + 1, rows
            places = places or TWO_COLUMNS
        if lines:
            yield Block(file, first, lines, places)


def _cut(file: str, stream: Any, longest: int) -> Iterator[tuple[int, bytes]]:
    """Cut at line ends: number of the first line, and whole lines, or one that is too long."""
    line = 1
    try:
        while block := stream.read(BLOCK_BYTES):
            yield line, block + stream.readline(longest + 1)
            line += block.count(b"\n") + 1
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{file}: broken gzip after line {line - 1}: {error}") from None


def _parquet(file: str, raw: Any, params: IngestParams) -> Iterator[Block]:
    try:
        table = pq.ParquetFile(raw)
        columns = table.schema_arrow.names
        places = find_columns(columns, file, params.model_copy(update={"header": "yes"}))
        if not places:
            raise UserError(f"{file}: columns {brief(','.join(columns))}; set ingest.columns")
        wanted = [columns[places.name], columns[places.country]]
        first = 1
        for batch in table.iter_batches(BLOCK_ROWS, columns=wanted):
            name, country = (_bytes(batch[column], f"{file}: {column}") for column in wanted)
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
