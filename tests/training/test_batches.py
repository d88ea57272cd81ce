import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.dataset import Names
from stages.training.batches import TrainingOrder, evaluation_order, load_batches, permuted

lengths = st.lists(st.integers(1, 6), min_size=1, max_size=60)


def names_of(lengths: list[int]) -> Names:
    """Names whose codes tell which name they belong to."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = np.repeat(np.arange(len(lengths)), lengths).astype(np.uint16)
    return Names(
        codes,
        offsets,
        np.arange(len(lengths)) % 3,
        np.zeros(len(lengths), dtype=bool),
        np.argsort(lengths, kind="stable").astype(np.uint32),
    )


@given(lengths, st.integers(1, 9), st.integers(0, 5), st.integers(1, 3))
def test_an_epoch_meets_every_name_once_in_batches_of_one_length(
    lengths, size, seed, epoch
) -> None:
    names = names_of(lengths)
    order = TrainingOrder(names, size, seed, epoch)
    assert sorted(np.concatenate(order).tolist()) == list(range(len(lengths)))
    for rows in order:
        assert len(rows) <= size
        assert len({lengths[row] for row in rows}) == 1


@given(lengths, st.integers(1, 9))
def test_a_batch_holds_its_names_codes_and_labels(lengths, size) -> None:
    names = names_of(lengths)
    for batch in load_batches(names, evaluation_order(names, size), torch.device("cpu")):
        assert batch.codes.dtype == batch.labels.dtype == torch.int64
        for row, codes, label in zip(batch.rows, batch.codes, batch.labels, strict=True):
            assert codes.tolist() == [row] * lengths[row]
            assert label == names.labels[row]


@given(st.integers(1, 5000), st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 9)))
def test_a_permutation_meets_every_place_once(count, key) -> None:
    assert sorted(permuted(np.arange(count), count, key).tolist()) == list(range(count))


def test_a_permutation_leaves_no_pattern() -> None:
    for count in (100, 4096, 10_000):
        found = permuted(np.arange(count), count, (1, 2))
        # Neighbours stay neighbours, places stay in place, and lie in order: all as by chance.
        assert (np.abs(np.diff(found)) == 1).mean() < 0.05
        assert (found == np.arange(count)).mean() < 0.05
        assert abs(np.corrcoef(found, np.arange(count))[0, 1]) < 4 / count**0.5
        assert abs(np.corrcoef(found, permuted(np.arange(count), count, (1, 3)))[0, 1]) < 0.3


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    names = names_of([3] * 50 + [4] * 50)

    def flat(seed: int, epoch: int) -> list[int]:
        return np.concatenate(TrainingOrder(names, 8, seed, epoch)).tolist()

    assert flat(1, 1) == flat(1, 1)
    assert flat(1, 1) != flat(1, 2) != flat(2, 1)


def test_evaluation_goes_from_short_to_long() -> None:
    order = evaluation_order(names_of([5, 2, 5, 3]), 10)
    assert [rows.tolist() for rows in order] == [[1], [3], [0, 2]]


def test_names_that_are_not_there_are_told_with_the_mend(tmp_path) -> None:
    from stages.core.errors import UserError

    with pytest.raises(UserError, match="dvc repro index"):
        Names.load(tmp_path)
