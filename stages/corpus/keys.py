"""Hashes of names and rows in a file: repeated rows are counted without all of them in memory.

Hashes of 64 bits stand for texts: among 100 million distinct ones, two are the same with a
probability of .0003.
"""

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
    parts = keys["name"] % PARTS
    for part in range(PARTS):
        rows = keys[parts == part]
        writer.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False))


def count_keys(train: Path, test: Path) -> dict[str, dict[str, int]]:
    """Count distinct rows, and test rows that are known from training.

    Args:
        train: a file of the keys of all training rows.
        test: that of the test rows.

    Returns:
        ``distinct``: pairs of name and country in ``train`` and in ``test``. ``overlap``: test
        rows whose name (``names``), and whose name with its country (``pairs``), is in train too.
    """
    distinct, overlap = {"train": 0, "test": 0}, {"names": 0, "pairs": 0}
    with pq.ParquetFile(train) as train_file, pq.ParquetFile(test) as test_file:
        for part in range(PARTS):
            known, asked = (
                file.read_row_groups(range(part, file.num_row_groups, PARTS)).to_pandas()
                for file in (train_file, test_file)
            )
            distinct["train"] += known["pair"].nunique()
            distinct["test"] += asked["pair"].nunique()
            overlap["names"] += int(asked.loc[asked["name"].isin(known["name"]), "rows"].sum())
            overlap["pairs"] += int(asked.loc[asked["pair"].isin(known["pair"]), "rows"].sum())
    return {"distinct": distinct, "overlap": overlap}
