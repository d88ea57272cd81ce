import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.dataset import Names
from stages.training.batches import batches_by_length


@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(1, 9))
def test_evaluation_meets_every_name_once_short_names_first(lengths, size) -> None:
    offsets, zeros = np.cumsum([0, *lengths]), np.zeros(len(lengths), int)
    batches = list(batches_by_length(Names(np.zeros(offsets[-1]), offsets, zeros, zeros), size))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(rows) <= size for rows in batches)
    met = [lengths[row] for rows in batches for row in rows]
    assert met == sorted(met)
