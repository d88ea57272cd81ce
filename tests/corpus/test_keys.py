"""Rows that occur twice are counted exactly, in however many pieces they come."""

import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus import keys
from stages.corpus.tasks import Tasks

# Few names and countries, so that most occur twice.
ROWS = st.lists(
    st.tuples(st.integers(0, 40).map(str), st.sampled_from("abc")), min_size=1, max_size=60
)


@settings(max_examples=25)
@given(ROWS, ROWS, st.integers(1, 60), st.sampled_from([5, 2**22]))
def test_counts_are_those_of_sets(
    train: list[tuple[str, str]], test: list[tuple[str, str]], piece: int, part_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "PART_ROWS", part_rows)
        files = Path(scratch, "train"), Path(scratch, "test")
        for rows, file in zip((train, test), files, strict=True):
            frame = pd.DataFrame(rows, columns=["name", "country"])
            frame.to_parquet(file, row_group_size=piece)
        distinct, overlap = keys.count_keys(*files, Tasks(pytest.fail, 1))
    names = {name for name, _ in train}
    assert distinct == [len({*train}), len({*test})]
    assert overlap == {
        "names": sum(name in names for name, _ in test),
        "pairs": sum(row in train for row in test),
    }
