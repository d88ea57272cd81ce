"""Hashes of names and rows in a file: repeated rows are counted without all of them in memory.

Hashes of 64 bits stand for texts: among 100 million distinct ones, two are the same with a
probability of .0003.
"""

from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

PARTS = 16  # one at a time is in memory; equal names are in the same part
SCHEMA = pa.schema({"name": pa.uint64(), "pair": pa.uint64(), "rows": pa.int64()})


def start_keys(path: Path) -> pq.ParquetWriter:
    """Give the writer of a new file of keys."""
    return pq.ParquetWriter(path, SCHEMA, compression="none", use_dictionary=False)


def append_keys(keys: pd.DataFrame, writer: pq.ParquetWriter) -> None:
    """Append the keys of a `Chunk` as ``PARTS`` row groups, some of which may be empty."""
    for part in range(PARTS):
        rows = keys[keys["name"] % PARTS == part]
        writer.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False))


def count_keys(paths: dict[str, Path]) -> tuple[Counter[str], Counter[str]]:
    """Count distinct rows of ``train`` and ``test``, and test rows that are known from training.

    Returns:
        distinct: pairs of name and country in either file.
        overlap: test rows whose name (``names``), or name and country (``pairs``), is in train too.
    """
    distinct, overlap = Counter[str](), Counter[str](names=0, pairs=0)
    for part in range(PARTS):
        keys = {}
        for split, path in paths.items():
            with pq.ParquetFile(path) as file:
                groups = range(part, file.num_row_groups, PARTS)
                keys[split] = file.read_row_groups(groups).to_pandas()
            distinct[split] += keys[split]["pair"].nunique()
        for column in ("name", "pair"):
            is_known = keys["test"][column].isin(keys["train"][column])
            overlap[f"{column}s"] += int(keys["test"].loc[is_known, "rows"].sum())
    return distinct, overlap
