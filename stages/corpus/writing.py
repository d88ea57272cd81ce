"""Tables that are whole or not there."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from stages.core.errors import UserError, brief
from stages.core.files import atomic_path
from stages.corpus.sources import SUFFIXES

STDOUT = Path("-")


@contextmanager
def create(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Yield a function that appends batches; ``path`` appears, whole, after the last one.

    A symbolic link stays: the file behind it is written. `STDOUT` gets a CSV, batch by batch.

    Raises:
        UserError: the file cannot be written, or its format cannot hold the table.
        BrokenPipeError: nobody reads standard output any more.
    """
    check_suffix(path)
    name = path.name.lower()
    with ExitStack() as stack:
        temporary = path
        try:
            if path == STDOUT:
                stream: Any = sys.stdout.buffer
            else:
                temporary = stack.enter_context(atomic_path(path.resolve()))
                compression = "gzip" if name.endswith(".gz") else None
                stream = stack.enter_context(pa.output_stream(temporary, compression=compression))
            if name.endswith(".parquet"):
                writer: Any = pq.ParquetWriter(stream, schema)
            else:
                options = pcsv.WriteOptions(delimiter="\t" if ".tsv" in name[-7:] else ",")
                writer = pcsv.CSVWriter(stream, schema, write_options=options)
            with writer:
                yield writer.write_batch
            stack.close()
        except BrokenPipeError:
            raise
        except (pa.ArrowException, OSError) as error:
            reason = brief(error, 200)
            if isinstance(error, OSError) and error.errno:  # Arrow's words name the temporary file
                reason = os.strerror(error.errno)
                if error.filename not in (None, str(path), str(path.resolve())):
                    reason = f"{error.filename}: {reason}"
            raise UserError(f"{path}: cannot be written: {reason}") from None


def check_suffix(path: Path) -> None:
    """Raise a `UserError` unless the suffix says how a table is to be written."""
    if path != STDOUT and not path.name.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: must end in one of {', '.join(SUFFIXES)}")
