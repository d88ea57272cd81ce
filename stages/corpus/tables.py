"""Tables on disk (CSV, gzipped CSV, Parquet) as a stream of record batches, in bounded memory.

CSV cells stay text: no types are inferred.
"""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from stages.corpus.rows import ROWS, CsvReader, Rows
from stages.core.errors import UserError, brief
from stages.core.files import atomic_path

SUFFIXES = (".csv", ".csv.gz", ".parquet")


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
        unreadable: rows met so far that cannot be read.
        first: where and what the first of them is.
    """

    def __init__(self, path: Path, separator: str = ",", encoding: str = "utf-8") -> None:
        self.path, self.unreadable, self.first = path, 0, ""
        self.rows: int | None = None
        self._kind = kind(path)
        with self._named_errors():
            if self._kind == ".parquet":
                file = pq.ParquetFile(path)
                self.schema, self.rows = file.schema_arrow, file.metadata.num_rows
            else:
                self._csv = CsvReader(self._inflated, separator, encoding)
                self.schema = pa.schema([(name, pa.string()) for name in self._csv.header])

    def check_text(self, column: str) -> None:
        """Raise a `UserError` unless there is exactly one such column, and it holds text."""
        names = self.schema.names
        other = next((sep for sep in ";\t|," if sep in names[0]), None)
        if len(names) == 1 and column not in names and other:
            raise UserError(
                f"{self.path}: has one column, {brief(names[0])!r}; if its fields are separated "
                f"by {other!r}, set --separator"
            )
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

    def batches(self) -> Iterator[Rows]:
        """All rows in order.

        Raises:
            UserError: the file cannot be read.
        """
        seen = 0
        parts = self._parquet() if self._kind == ".parquet" else self._csv.batches()
        with self._named_errors():
            for batch, problems in parts:
                for n in np.flatnonzero(problems.is_valid()).tolist():
                    problem = str(problems[n])
                    self.first = self.first or f"row {seen + n + 1}: {problem}{remedy(problem)}"
                    self.unreadable += 1
                seen += len(batch)
                yield Rows(batch, problems)

    def _parquet(self) -> Iterator[Rows]:
        # Without reading ahead: a row group may be larger than memory.
        file = pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**16)
        for batch in file.iter_batches(ROWS):
            yield Rows(batch, pa.nulls(len(batch), pa.string()))

    def _inflated(self) -> pa.NativeFile:
        return pa.input_stream(self.path, compression="gzip" if self._kind == ".csv.gz" else None)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Errors of the reader as one line that names the file."""
        try:
            yield
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None
        except (pa.ArrowException, OSError, UnicodeError, csv.Error) as error:
            reason = brief(error, 200)
            raise UserError(f"{self.path}: cannot be read: {reason}") from None


def remedy(problem: str) -> str:
    """Which option may read a file with such rows."""
    if problem.startswith("1 fields"):
        return " (another separator? set --separator)"
    if problem.startswith("not UTF-8"):
        return " (from Excel? set --encoding cp1252)"
    return ""


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
