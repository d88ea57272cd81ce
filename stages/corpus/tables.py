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
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.core.errors import UserError, brief
from stages.core.text import is_separator
from stages.corpus.rows import TEXT, Block, Format, cut, remedy, split, too_long, whole_rows
from stages.corpus.sources import storage_error

BLOCK_BYTES, BLOCK_ROWS = 2**23, 2**18  # each block is in memory as a whole
BATCH_BYTES, BATCH_ROWS = 2**20, 2**15  # of `Table.batches`
COMMAS = Format()
SEPARATOR_LINE = re.compile(rb'(?:\xef\xbb\xbf)?"?sep=([\t -~])"?\r?', re.IGNORECASE)
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
TEXTS = (TEXT, pa.large_string(), pa.string_view(), pa.null())  # types of Parquet


class Table:
    """One file, a path or URL.

    Attributes:
        header: fields of the first row of a CSV, or their numbers if it is no header; names of the
            columns of Parquet.
        first_line: number of the first row's first line; 0 in Parquet.
        schema: names and types of the columns.
        rows: number of rows; None if only reading tells.
        unreadable: number of rows met by `batches` that cannot be read.
        first_problem: file, line and reason of the first of these.
    """

    def __init__(self, file: str | Path, format: Format = COMMAS) -> None:
        """Look at the first row. A comma as separator is a tab in a file called .tsv.

        Raises:
            UserError: the file is missing, unreadable, broken or no table.
        """
        self.file, self.rows, self.unreadable, self.first_problem = str(file), None, 0, ""
        if format.separator == "," and self.file.lower().endswith((".tsv", ".tsv.gz")):
            format = format._replace(separator="\t")
        self.format, self.header, self.first_line = format, list[str](), 0
        self._line = self._skipped = 0  # lines read so far; lines above the rows to read
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
                return
            self._read_header(stream)
        self.schema = pa.schema([(name, TEXT) for name in self.header])
        if not format.header:
            self.read_first_row(len(self.header))

    def read_first_row(self, fields: int) -> None:
        """Take the first row of a CSV for one of so many fields, not for the header."""
        self._skipped = self.first_line - 1
        self.header = [str(n + 1) for n in range(fields)]
        self.schema = pa.schema([(name, TEXT) for name in self.header])

    def batches(self) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
        """All rows below the header, and why a row cannot be read; null if it can.

        A row that cannot be read has its text in the first column and nothing in the others.

        Raises:
            UserError: the file is empty or broken, or changes while it is read.
        """
        self.check_header()
        for block in self.blocks(range(len(self.header)), small=True):
            columns, reasons = split(block)
            if unreadable := len(reasons) - reasons.null_count:
                row = int(reasons.is_valid().index(True).as_py())
                line, reason = block.lines[row], str(reasons[row])
                problem = f"{self.file}, line {line}: {reason}{remedy(reason, self.format)}"
                self.first_problem = self.first_problem or problem
                self.unreadable += unreadable
            batch = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            for start in range(0, len(batch), BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS), reasons.slice(start, BATCH_ROWS)

    def blocks(self, columns: Sequence[int], small: bool = False) -> Iterator[Block]:
        """Some columns of all rows, in blocks to be split.

        Args:
            columns: positions of the columns.
            small: whether the blocks are to be split here, one by one.

        Raises:
            UserError: the file is broken, or changes while it is read.
        """
        with self._opened() as (stream, is_parquet):
            if is_parquet:
                # Without reading ahead: a row group may be larger than memory.
                parquet = pq.ParquetFile(stream, pre_buffer=False, buffer_size=2**16)
                names = [self.header[column] for column in columns]
                self._line = 1
                for batch in parquet.iter_batches(BATCH_ROWS if small else BLOCK_ROWS, None, names):
                    numbers = np.arange(self._line, self._line + len(batch))
                    yield Block(self.file, batch.select(names), numbers)
                    self._line += len(batch)
            else:
                self._line = self._skipped
                for _ in range(self._line):
                    stream.readline(self.format.longest + 1)
                fields, size = len(self.header), BATCH_BYTES if small else BLOCK_BYTES
                is_start = self._skipped < self.first_line
                for rows, numbers in self._rows(stream, fields, size):
                    yield Block(self.file, rows, numbers, columns, fields, self.format, is_start)
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
        if column not in names and (error := self.other_separator()):
            raise error
        if names.count(column) != 1:
            what = "two columns" if column in names else "no column"
            choice = brief(", ".join(names), 300)
            first_row = "" if self.is_parquet else " (or --no-header, if these are no titles)"
            raise UserError(
                f"{self.file}: has {what} {brief(column, 60)!r}; use {option}, one of: {choice}"
                + first_row * self.format.header
            )
        self.check_type(names.index(column), (*TEXTS, pa.binary()))

    def other_separator(self) -> UserError | None:
        """The error of a file whose fields another character separates, if it looks like one."""
        first, *others = self.header
        for separator in () if others else ";\t|,":
            if separator in first:
                return UserError(
                    f"{self.file}: has one column, {brief(first)!r}; if its fields are separated "
                    f"by {separator!r}, set {self.format.keys}separator"
                )
        return None

    def check_type(self, column: int, types: Sequence[pa.DataType] = TEXTS) -> None:
        """Raise a `UserError` unless the column at this position holds text."""
        own = self.schema.types[column]
        if (own.value_type if pa.types.is_dictionary(own) else own) not in types:
            name = f"column {brief(self.header[column], 60)!r}"
            raise UserError(f"{self.file}: {name} is {brief(own, 60)}, not text")

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, bool]]:
        """The file's bytes, inflated, and whether they are Parquet; errors name the file."""
        try:
            with self._system.open(self._path, "rb") as raw:
                # Look at the first bytes, not at the name: a plain file may be called .gz and back.
                magic = raw.read(4)
                raw.seek(0)
                if magic == b"PK\x03\x04":
                    raise UserError(f"{self.file}: is an Excel workbook or a zip; save it as CSV")
                if magic.startswith(b"\x1f\x8b"):
                    yield gzip.GzipFile(fileobj=raw), False
                else:
                    is_parquet = magic == b"PAR1"
                    yield raw if is_parquet else io.BufferedReader(raw), is_parquet
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
        match = SEPARATOR_LINE.fullmatch(stream.peek(16)[:16].partition(b"\n")[0])
        if match and is_separator(match[1].decode()):
            self.format = self.format._replace(separator=match[1].decode())
            stream.readline()
            self._line = 1
        for rows, lines in self._rows(stream, 0, BATCH_BYTES):
            row, self.first_line = rows[0].as_py(), int(lines[0])
            self._skipped = self.first_line + row.count(b"\n")
            if row.startswith(UTF16):
                advice = "convert it to UTF-8 (iconv -f utf-16 -t utf-8)"
                raise UserError(f"{self.file}: is UTF-16; {advice}")
            if len(row) > self.format.longest:
                raise too_long(self.file, self.first_line, self.format)
            self.header = [row.decode("utf-8", "replace")]
            with suppress(csv.Error):
                self.header = next(csv.reader(self.header, delimiter=self.format.separator)) or [""]
            return

    def _rows(
        self, stream: Any, fields: int, size: int
    ) -> Iterator[tuple[pa.Array, NDArray[np.int64]]]:
        """Rows as UTF-8, and numbers of their first lines; a line that is too long is cut."""
        longest, encoding, open_row = self.format.longest, self.format.encoding, b""
        while block := stream.read(size):
            block += stream.readline(longest + 1)
            is_whole = block.endswith(b"\n")
            if self._line == 0:
                block = block.removeprefix(codecs.BOM_UTF8)
            if codecs.lookup(encoding).name != "utf-8":
                # Bytes that mean nothing in that encoding are kept: they are no UTF-8 either.
                block = block.decode(encoding, "surrogateescape").encode("utf-8", "surrogateescape")
            lines = cut(open_row + block)
            rows, starts, stop = whole_rows(lines, fields, self.format)
            rest = lines[stop:]
            if len(rest) + (pc.sum(pc.binary_length(rest)).as_py() or 0) > longest:
                stop, rest = len(lines), lines[:0]
            open_row = b"".join(line + b"\n" for line in rest.to_pylist())
            count = np.searchsorted(starts, stop)
            if count:
                yield rows[:count], self._line + 1 + starts[:count]
            self._line += stop
            while not is_whole and (more := stream.readline(longest)):
                is_whole = more.endswith(b"\n")
        if open_row:
            rows, starts, _ = whole_rows(cut(open_row), fields, self.format)
            yield rows, self._line + 1 + starts
