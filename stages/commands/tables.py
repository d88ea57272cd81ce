"""Tables on disk (CSV, gzipped CSV, Parquet) as a stream of record batches, in bounded memory.

CSV cells stay text: no types are inferred.
"""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from stages.core.errors import UserError, brief
from stages.core.files import atomic_path

SUFFIXES = (".csv", ".csv.gz", ".parquet")
ROWS = 2**15  # of a batch
BLOCK_BYTES = 2**20  # of CSV read at a time, and of a row at most; Arrow reads up to 32 ahead


def kind(path: Path) -> str:
    """The suffix that says how a table is stored.

    Raises:
        UserError: it is none of `SUFFIXES`.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise UserError(f"{path}: must end in one of {', '.join(SUFFIXES)}")


class Source:
    """A table to read.

    Attributes:
        path: of the file.
        schema: its columns.
        rows: number of rows; None if only reading tells.
        skipped: rows left out so far because they have too few or too many fields.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.skipped = path, 0
        self.rows: int | None = None
        self._kind = kind(path)
        with self._named_errors():
            if self._kind == ".parquet":
                file = pq.ParquetFile(path)
                self.schema, self.rows = file.schema_arrow, file.metadata.num_rows
            else:
                self.schema = pa.schema([(name, pa.string()) for name in self._header()])

    def check_text(self, column: str) -> None:
        """Raise a `UserError` unless there is exactly one such column, and it holds text."""
        names = self.schema.names
        if names.count(column) != 1:
            what = "two columns" if column in names else "no column"
            there = brief(", ".join(names), 300)
            raise UserError(
                f"{self.path}: has {what} {brief(column, 60)!r}; use --column, one of: {there}"
            )
        found = self.schema.field(column).type
        if pa.types.is_dictionary(found):
            found = found.value_type
        if found not in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.null()):
            raise UserError(
                f"{self.path}: column {brief(column, 60)!r} is {brief(found, 60)}, not text"
            )

    def batches(self) -> Iterator[Any]:
        """All rows in order, as record batches.

        Raises:
            UserError: the file cannot be read.
        """

        def skip(row: pcsv.InvalidRow) -> str:
            self.skipped += 1
            return "skip"

        with self._named_errors():
            if self._kind == ".parquet":
                # Without reading ahead: a row group may be larger than memory.
                file = pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**16)
                yield from file.iter_batches(ROWS)
                return
            types = dict.fromkeys(self.schema.names, pa.string())
            for batch in pcsv.open_csv(
                self._inflated(),
                read_options=pcsv.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=pcsv.ParseOptions(
                    newlines_in_values=True,
                    invalid_row_handler=skip,
                    ignore_empty_lines=len(types) > 1,  # in a single column it is an empty cell
                ),
                convert_options=pcsv.ConvertOptions(column_types=types),
            ):
                for start in range(0, len(batch), ROWS):
                    yield batch.slice(start, ROWS)

    def _header(self) -> list[str]:
        start = self._inflated().read(BLOCK_BYTES).decode("utf-8-sig", "surrogateescape")
        header = next(filter(None, csv.reader(io.StringIO(start, newline=""))), [])
        if not header:
            raise UserError(f"{self.path}: is empty; its first line must name the columns")
        "".join(header).encode()  # raises if it is not UTF-8
        return header

    def _inflated(self) -> pa.NativeFile:
        return pa.input_stream(self.path, compression="gzip" if self._kind == ".csv.gz" else None)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Errors of the reader as one line that names the file."""
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeError, csv.Error) as error:
            reason = brief(error, 200)
            if "straddling" in reason:
                reason = f"a row is longer than {BLOCK_BYTES} bytes, or a quote is not closed"
            elif "UTF8" in reason or isinstance(error, UnicodeError):
                reason = "not UTF-8; convert it (iconv -t utf-8)"
            raise UserError(f"{self.path}: cannot be read: {reason}") from None


@contextmanager
def create(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Yield a function that appends batches; ``path`` appears, whole, after the last one.

    Raises:
        UserError: the file cannot be written, or its format cannot hold the table.
    """
    suffix = kind(path)
    try:
        with atomic_path(path) as temporary:
            if suffix == ".parquet":
                with pq.ParquetWriter(temporary, schema) as writer:
                    yield writer.write_batch
            else:
                compression = "gzip" if suffix == ".csv.gz" else None
                with (
                    pa.output_stream(temporary, compression=compression) as stream,
                    pcsv.CSVWriter(stream, schema) as writer,
                ):
                    yield writer.write_batch
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be written: {brief(error, 200)}") from None
