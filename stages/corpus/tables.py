"""Tables of text, CSV (plain or gzip) and Parquet: one reader for all who read files of names.

Files are cut into blocks of whole rows here, in bounded memory; `stages.corpus.rows` splits these.
"""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import UserError, brief
from stages.core.text import is_separator
from stages.corpus.rows import (
    TEXT,
    Block,
    Format,
    cut,
    is_text,
    remedy,
    rows_over_lines,
    split,
    too_long,
)
from stages.corpus.sources import storage_error

BLOCK_BYTES = 8 * 2**20  # more rows, more of them alike; but each block is in memory as a whole
BLOCK_ROWS = 2**18  # of Parquet
BATCH_BYTES, BATCH_ROWS = 2**20, 2**15  # of `Table.batches`
COMMAS = Format()
SEPARATOR_LINE = re.compile(rb'"?sep=([\t -~])"?\r?', re.IGNORECASE)
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Table:
    """One file, a path or URL.

    Attributes:
        header: fields of the first row of a CSV, or their numbers if its format has no header;
            names of the columns of Parquet.
        header_line: number of the first row's last line; 0 in Parquet.
        schema: names and types of the columns, if the first row is a header.
        rows: number of rows; None if only reading tells.
        unreadable: number of rows met by `batches` that cannot be read.
        first: file, line and reason of the first of these.
    """

    def __init__(self, file: str | Path, format: Format = COMMAS) -> None:
        """Look at the first row. A comma as separator is a tab in a file called .tsv.

        Raises:
            UserError: the file is missing, unreadable, broken or no table.
        """
        self.file, self.rows, self.unreadable, self.first = str(file), None, 0, ""
        if format.separator == "," and self.file.lower().endswith((".tsv", ".tsv.gz")):
            format = format._replace(separator="\t")
        self.format, self.header, self.header_line = format, list[str](), 0
        self._line = self._empty_lines = 0  # lines read so far; empty ones before the first row
        try:
            self._system, self._path = fsspec.core.url_to_fs(self.file)
        except (ValueError, ImportError) as error:
            raise UserError(f"{self.file}: {brief(error, 200)}") from None
        with self._opened() as (stream, self.is_parquet):
            self._state = self._system.info(self._path)
            if self.is_parquet:
                parquet = pq.ParquetFile(stream)
                self.schema, self.rows = parquet.schema_arrow, parquet.metadata.num_rows
                self.header = self.schema.names
            else:
                self._read_header(stream)
                self.schema = pa.schema([(name, TEXT) for name in self.header])

    def batches(self) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
        """All rows below the header, and why a row cannot be read; null if it can.

        A row that cannot be read has its text in the first column and nothing in the others.

        Raises:
            UserError: the file is empty or broken, or changes while it is read.
        """
        self.check_header()
        for block in self.blocks(range(len(self.header)), small=True):
            if isinstance(block.content, pa.RecordBatch):
                yield block.content, pa.nulls(len(block.content), TEXT)
                continue
            rows = split(block)
            if unreadable := len(rows.reasons) - rows.reasons.null_count:
                row = int(rows.reasons.is_valid().index(True).as_py())
                reason, where = str(rows.reasons[row]), f"{self.file}, line {rows.lines[row]}"
                self.first = self.first or f"{where}: {reason}{remedy(reason, self.format)}"
                self.unreadable += unreadable
            batch = pa.RecordBatch.from_arrays(rows.batch.columns, schema=self.schema)
            for start in range(0, len(batch), BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS), rows.reasons.slice(start, BATCH_ROWS)

    def blocks(
        self, columns: Sequence[int], header: bool = True, small: bool = False
    ) -> Iterator[Block]:
        """Some columns of all rows, in blocks to be split.

        Args:
            columns: positions of the columns.
            header: whether the first row names the columns; without, these are all.
            small: whether the blocks are to be split here, one by one.

        Raises:
            UserError: the file is broken, or changes while it is read.
        """
        fields = len(self.header) if header else len(columns)
        with self._opened() as (stream, is_parquet):
            if is_parquet:
                # Without reading ahead: a row group may be larger than memory.
                parquet = pq.ParquetFile(stream, pre_buffer=False, buffer_size=2**16)
                names = [self.header[column] for column in columns]
                self._line = 1
                for batch in parquet.iter_batches(BATCH_ROWS if small else BLOCK_ROWS, None, names):
                    yield Block(self.file, self._line, batch.select(names))
                    self._line += len(batch)
            else:
                self._line = self.header_line if header else self._empty_lines
                for _ in range(self._line):
                    stream.readline(self.format.longest + 1)
                size = BATCH_BYTES if small else BLOCK_BYTES
                is_start = not header
                for first, content in self._whole_rows(stream, fields, size):
                    yield Block(self.file, first, content, columns, fields, self.format, is_start)
                    is_start = False
            if self._system.info(self._path) != self._state:
                raise UserError(f"{self.file}: changed while it was read; run again")

    def check_header(self) -> None:
        """Raise a `UserError` if the first row cannot name the columns."""
        if not self.header:
            raise UserError(f"{self.file}: is empty; its first line must name the columns")
        if any("\ufffd" in name for name in self.header):
            encoding, keys = self.format.encoding.upper(), self.format.keys
            raise UserError(
                f"{self.file}: its header is not {encoding}; set {keys}encoding (cp1252, say)"
            )

    def check_text(self, column: str, option: str = "--column") -> None:
        """Raise a `UserError` unless there is exactly one such column, and it holds text."""
        self.check_header()
        names = self.header
        other = next((sep for sep in ";\t|," if sep in names[0]), None)
        if len(names) == 1 and column not in names and other:
            raise UserError(
                f"{self.file}: has one column, {brief(names[0])!r}; if its fields are separated "
                f"by {other!r}, set {self.format.keys}separator"
            )
        if names.count(column) != 1:
            what = "two columns" if column in names else "no column"
            choice = brief(", ".join(names), 300)
            first_row = "" if self.is_parquet else " (or --no-header, if these are no titles)"
            raise UserError(
                f"{self.file}: has {what} {brief(column, 60)!r}; use {option}, one of: {choice}"
                + first_row * self.format.header
            )
        kind = self.schema.field(column).type
        if not is_text(kind) and kind != pa.binary():
            raise UserError(
                f"{self.file}: column {brief(column, 60)!r} is {brief(kind, 60)}, not text"
            )

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, bool]]:
        """The file's bytes, inflated, and whether they are Parquet; errors name the file."""
        try:
            with self._system.open(self._path, "rb") as raw:
                # Look at the first bytes, not at the name: a plain file may be called .gz and back.
                kind = raw.read(4)
                raw.seek(0)
                if kind == b"PK\x03\x04":
                    raise UserError(f"{self.file}: is an Excel workbook or a zip; save it as CSV")
                if kind.startswith(b"\x1f\x8b"):
                    yield gzip.GzipFile(fileobj=raw), False
                else:
                    yield raw if kind == b"PAR1" else io.BufferedReader(raw), kind == b"PAR1"
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{self.file}: broken gzip after line {self._line}: {error}") from None
        except pa.ArrowException as error:
            raise UserError(f"{self.file}: broken Parquet: {brief(error, 200)}") from None
        except OSError as error:
            raise UserError(f"{self.file}: {error.strerror or brief(error, 200)}") from None
        except Exception as error:
            raise storage_error(self.file, error) from None

    def _read_header(self, stream: Any) -> None:
        """Read the first row that is not empty, and before it Excel's ``sep=`` line."""
        for first, block in self._whole_rows(stream, 0, BATCH_BYTES):
            lines = cut(block)
            begin = 0
            for scalar in lines:
                line = scalar.as_py()
                said = SEPARATOR_LINE.fullmatch(line)
                if said and is_separator(said[1].decode()):
                    self.format = self.format._replace(separator=said[1].decode())
                elif line.strip(b"\r"):
                    break
                begin += 1
            self._empty_lines = first - 1 + begin
            if begin == len(lines):
                continue
            last = dict(rows_over_lines(lines, 0, self.format)[0]).get(begin, begin)
            row = b"\n".join(lines[begin : last + 1].to_pylist())
            self.header_line = first + last
            if row.startswith(UTF16):
                advice = "convert it to UTF-8 (iconv -f utf-16 -t utf-8)"
                raise UserError(f"{self.file}: is UTF-16; {advice}")
            if len(row) > self.format.longest:
                raise too_long(self.file, self.header_line, self.format)
            self.header = [row.decode("utf-8", "replace").removesuffix("\r")]
            with suppress(csv.Error):
                (self.header,) = csv.reader(self.header, delimiter=self.format.separator)
            if not self.format.header:
                self.header = [str(n + 1) for n in range(len(self.header))]
                self.header_line = self._empty_lines
            return

    def _whole_rows(self, stream: Any, fields: int, size: int) -> Iterator[tuple[int, bytes]]:
        """Number of the first line, and whole rows as UTF-8; a line that is too long is cut."""
        longest, encoding, open_row = self.format.longest, self.format.encoding, b""
        while block := stream.read(size):
            block += stream.readline(longest + 1)
            is_whole = block.endswith(b"\n")
            if self._line == 0:
                block = block.removeprefix(codecs.BOM_UTF8)
            if codecs.lookup(encoding).name != "utf-8":
                # Bytes that mean nothing in that encoding are kept: they are no UTF-8 either.
                block = block.decode(encoding, "surrogateescape").encode("utf-8", "surrogateescape")
            block = open_row + block + b"\n" * (not is_whole)
            end = len(block)
            if b'"' in block:  # the last row may go on
                lines = cut(block)
                _, last = rows_over_lines(lines, fields, self.format)
                begin = sum(map(len, lines[:last].to_pylist()), last) if last is not None else end
                end = begin if end - begin <= longest else end
            if end:
                yield self._line + 1, block[:end]
            self._line += block.count(b"\n", 0, end)
            open_row = block[end:]
            while not is_whole and (rest := stream.readline(longest)):
                is_whole = rest.endswith(b"\n")
        if open_row:
            yield self._line + 1, open_row
