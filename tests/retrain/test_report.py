import re
from pathlib import Path

import pandas as pd
import pytest

from stages.retrain.report import drift

ROWS = [("Abe", "Japan"), ("Li", "China")]
WORDS = r"Drift of the training names .*: countries (\d\.\d+), characters (\d\.\d+)\."


def distances(folder: Path, *tables: list[tuple[str, str]]) -> tuple[float, ...]:
    paths = [folder / f"{n}.parquet" for n in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        pd.DataFrame(table, columns=["name", "country"]).to_parquet(path)
    match = re.fullmatch(WORDS, drift(*paths))
    assert match
    return tuple(map(float, match.groups()))


def test_the_same_shares_are_at_distance_0_and_data_with_nothing_in_common_at_1(
    tmp_path: Path,
) -> None:
    assert distances(tmp_path, ROWS, 3 * ROWS) == (0, 0)
    assert distances(tmp_path, ROWS, [("Øyd", "Norway")]) == (1, 1)


def test_other_shares_are_between_and_the_same_both_ways(tmp_path: Path) -> None:
    more = [*ROWS, ("Ono", "Japan")]
    there, back = distances(tmp_path, ROWS, more), distances(tmp_path, more, ROWS)
    assert all(0 < distance < 1 for distance in there)
    assert there == pytest.approx(back)
