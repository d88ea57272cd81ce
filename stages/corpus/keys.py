"""Repeated rows of clean files, counted without all of them in memory.

Hashes of 64 bits stand for texts: among 100 million distinct ones, two are the same with a
probability of .0003.
"""

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages.corpus.splits import RowGroup, read_table, row_groups
from stages.corpus.tasks import Tasks

PART_ROWS = 2**22  # rows of which the hashes are in memory at a time


def count_keys(train: Path, test: Path, tasks: Tasks) -> tuple[list[int], Counter[str]]:
    """Count distinct rows of two clean files, and test rows that are known from training.

    Returns:
        distinct: pairs of name and country in either file.
        overlap: test rows whose name (``names``), or name and country (``pairs``), is in train too.
    """
    groups = [[*row_groups(path)] for path in (train, test)]
    parts = 1 + sum(group.rows for file in groups for group in file) // PART_ROWS
    distinct, overlap = [0, 0], Counter[str](names=0, pairs=0)
    for part in range(parts):
        hashes = partial(_hashes, part=part, parts=parts)
        known, tested = (pd.concat([*tasks.map(hashes, file)]) for file in groups)
        distinct = [distinct[0] + known["pair"].nunique(), distinct[1] + tested["pair"].nunique()]
        for column in ("name", "pair"):
            overlap[f"{column}s"] += int(tested["rows"][tested[column].isin(known[column])].sum())
    return distinct, overlap


def _hashes(group: RowGroup, part: int, parts: int) -> pd.DataFrame:
    """Distinct rows of a row group: hash of the name, hash of name and country, number of rows.

    Of ``parts`` by the hash of the name, only the rows of number ``part`` are kept.
    """
    hashes = []
    for column in read_table(group).columns:
        texts = column.combine_chunks()
        values = texts.dictionary.to_numpy(zero_copy_only=False)
        hashes.append(pd.util.hash_array(values, categorize=False)[texts.indices])
    names, countries = hashes
    pairs, first, rows = np.unique(3 * names + countries, return_index=True, return_counts=True)
    keys = pd.DataFrame({"name": names[first], "pair": pairs, "rows": rows})
    return keys[keys["name"] % parts == part]
