import math
from pathlib import Path

import pandas as pd
import pytest

from stages.retrain.drift import distances

ROWS = [("Abe", "Japan"), ("Li", "China")]


@pytest.fixture
def tables(tmp_path: Path):
    def tables(*rows: list[tuple[str, str]]) -> list[Path]:
        paths = [tmp_path / f"{n}.parquet" for n in range(len(rows))]
        for path, table in zip(paths, rows, strict=True):
            pd.DataFrame(table, columns=["name", "country"]).to_parquet(path)
        return paths

    return tables


def test_the_same_data_has_not_drifted(tables) -> None:
    assert distances(*tables(ROWS, 3 * ROWS)) == {"countries": 0.0, "characters": 0.0}


def test_data_with_nothing_in_common_is_at_distance_1(tables) -> None:
    for distance in distances(*tables(ROWS, [("Øyd", "Norway")])).values():
        assert math.isclose(distance, 1.0)


def test_new_shares_and_characters_are_between_and_the_same_both_ways(tables) -> None:
    old, new = tables(ROWS, [*ROWS, ("Ono", "Japan")])
    for part, distance in distances(old, new).items():
        assert 0 < distance < 1
        assert distance == pytest.approx(distances(new, old)[part])
