"""Rows that occur twice are counted exactly, in however many pieces they come."""

import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.keys import append_keys, count_keys, start_keys

# Few names and countries, so that most occur twice; names of parts that are empty, too.
ROWS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=60)


def keys_of(rows: list[tuple[int, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"name": [name for name, _ in rows], "pair": [100 * n + c for n, c in rows]}
    )
    frame = frame.astype("uint64")
    return frame.groupby(["name", "pair"], as_index=False).size().rename(columns={"size": "rows"})


@settings(max_examples=25, deadline=None)
@given(ROWS, ROWS, st.integers(1, 60))
def test_counts_are_those_of_sets(
    train: list[tuple[int, int]], test: list[tuple[int, int]], piece: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch, "train"), Path(scratch, "test")
        for rows, file in zip((train, test), files, strict=True):
            with start_keys(file) as writer:
                for start in range(0, len(rows), piece):
                    append_keys(keys_of(rows[start : start + piece]), writer)
        distinct, overlap = count_keys(dict(zip(("train", "test"), files, strict=True)))
    names = {name for name, _ in train}
    assert distinct == {"train": len({*train}), "test": len({*test})}
    assert overlap == {
        "names": sum(name in names for name, _ in test),
        "pairs": sum(row in train for row in test),
    }
