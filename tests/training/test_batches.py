import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.dataset import Names
from stages.training.batches import batches_by_length, collate

lengths = st.lists(st.integers(1, 6), min_size=1, max_size=60)


def names_of(lengths: list[int]) -> Names:
    """Names whose codes say which name they belong to."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = np.repeat(np.arange(len(lengths)), lengths).astype(np.uint16)
    return Names(codes, offsets, np.arange(len(lengths)) % 3, np.zeros(len(lengths), dtype=bool))


@given(lengths, st.integers(1, 9))
def test_evaluation_meets_every_name_once_short_names_first(lengths, size) -> None:
    batches = list(batches_by_length(names_of(lengths), size))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(rows) <= size for rows in batches)
    met = [lengths[row] for rows in batches for row in rows]
    assert met == sorted(met)


@given(lengths, st.randoms())
def test_a_batch_holds_the_codes_lengths_and_labels_of_its_rows_longest_first(
    lengths, random
) -> None:
    names = names_of(lengths)
    rows = np.array(random.sample(range(len(lengths)), random.randint(1, len(lengths))))
    batch = collate(names, rows, torch.device("cpu"))
    assert sorted(batch.rows.tolist()) == sorted(rows.tolist())
    assert batch.codes.dtype == batch.labels.dtype == batch.lengths.dtype == torch.int64
    assert batch.lengths.tolist() == sorted(batch.lengths.tolist(), reverse=True)
    assert batch.codes.shape == (len(rows), int(batch.lengths[0]))
    for row, codes, length, label in zip(
        batch.rows, batch.codes, batch.lengths, batch.labels, strict=True
    ):
        assert codes[:length].tolist() == [row] * lengths[row]
        assert label == names.labels[row]
