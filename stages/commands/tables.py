"""Tables on disk (CSV, gzipped CSV, Parquet) as a stream of record batches, in bounded memory.

CSV cells stay the texts that they are: nothing here guesses types.
"""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from stages.core.errors import UserError, brief
from stages.core.files import atomic_path

SUFFIXES = (".csv", ".csv.gz", ".parquet")
ROWS = 2**15  # at once
BLOCK_BYTES = 2**20  # at once, of a CSV file; no row is longer. Arrow reads up to 32 of them ahead


def kind(path: Path) -> str:
    """The suffix that says how a table is stored.

    Raises:
        UserError: it is none of `SUFFIXES`.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise UserError(f"{path}: is none of {', '.join(SUFFIXES)} by its name")


@dataclass
class Source:
    """A table to read.

    Attributes:
        path: where it is.
        kind: one of `SUFFIXES`.
        schema: its columns.
        rows: how many there are, if that is known beforehand.
        skipped: rows left out so far, since their number of fields is not the header's.
    """

    path: Path
    kind: str = field(init=False)
    schema: pa.Schema = field(init=False)
    rows: int | None = field(init=False, default=None)
    skipped: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.kind = kind(self.path)
        with self._named_errors():
            if self.kind == ".parquet":
                file = pq.ParquetFile(self.path)
                self.schema, self.rows = file.schema_arrow, file.metadata.num_rows
            else:
                self.schema = pa.schema([(name, pa.string()) for name in self._header()])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, in order.

        Raises:
            UserError: the file cannot be read, or is broken.
        """

        def skip(row: pcsv.InvalidRow) -> str:
            self.skipped += 1
            return "skip"

        with self._named_errors():
            if self.kind == ".parquet":
                # Without reading ahead: a row group may be larger than memory should be.
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
            raise UserError(f"{self.path}: has no header; its first line must name the columns")
        for name in header:
            name.encode()  # not UTF-8: told as any other such place
        return header

    def _inflated(self) -> pa.NativeFile:
        return pa.input_stream(self.path, compression="gzip" if self.kind == ".csv.gz" else None)

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
                reason = "not UTF-8 throughout; convert it (iconv -t utf-8)"
            raise UserError(f"{self.path}: cannot be read: {reason}") from None


@contextmanager
def create(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Give a function that appends batches; ``path`` is there, whole, only after the last one.

    Raises:
        UserError: the place or the format cannot take the table.
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
