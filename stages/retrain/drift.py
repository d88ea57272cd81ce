"""How far one table of names is from an earlier one."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.spatial.distance import jensenshannon


def distances(old: Path, new: Path) -> dict[str, float]:
    """Jensen-Shannon distances (base 2; 0: equal, 1: disjoint) of ``countries``, ``characters``.

    Args:
        old: table of names and countries, as Parquet.
        new: a later table.
    """
    before, after = _counts(old), _counts(new)
    return {part: _distance(before[part], after[part]) for part in before}


def _counts(table: Path) -> dict[str, Counter[str]]:
    """Rows of each country and occurrences of each character, counted batch by batch."""
    countries, characters = Counter[str](), Counter[str]()
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(columns=["name", "country"]):
            countries.update(batch["country"].to_pylist())
            characters.update("".join(batch["name"].to_pylist()))
    return {"countries": countries, "characters": characters}


def _distance(old: Counter[str], new: Counter[str]) -> float:
    keys = sorted(old | new)
    distance = jensenshannon([old[key] for key in keys], [new[key] for key in keys], base=2)
    return float(np.nan_to_num(distance))  # rounding can give the root of a number just below 0
