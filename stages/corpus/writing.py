"""Tables that are whole or not there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from stages.core.errors import UserError, brief
from stages.core.files import atomic_path
from stages.corpus.tables import SUFFIXES


@contextmanager
def create(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Yield a function that appends batches; ``path`` appears, whole, after the last one.

    Raises:
        UserError: the file cannot be written, or its format cannot hold the table.
    """
    check_suffix(path)
    name = path.name.lower()
    try:
        with atomic_path(path) as temporary:
            if name.endswith(".parquet"):
                with pq.ParquetWriter(temporary, schema) as writer:
                    yield writer.write_batch
            else:
                options = pcsv.WriteOptions(delimiter="\t" if ".tsv" in name[-7:] else ",")
                compression = "gzip" if name.endswith(".gz") else None
                with (
                    pa.output_stream(temporary, compression=compression) as stream,
                    pcsv.CSVWriter(stream, schema, write_options=options) as writer,
                ):
                    yield writer.write_batch
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be written: {brief(error, 200)}") from None


def check_suffix(path: Path) -> None:
    """Raise a `UserError` unless the suffix says how a table is to be written."""
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: must end in one of {', '.join(SUFFIXES)}")
