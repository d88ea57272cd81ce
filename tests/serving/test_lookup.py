"""The dictionary of hashes: each key has a slot of its own, and strangers rarely pass for one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.serving.lookup import KEY_BITS, LOW_BITS, Lookup


def slots(lookup: Lookup, keys: np.ndarray) -> np.ndarray:
    """Where the graph looks for keys."""
    moved = lookup.displacements[keys % len(lookup.displacements)].astype(int)
    return (keys - moved) % len(lookup.fingerprints)


def passes(lookup: Lookup, keys: np.ndarray) -> np.ndarray:
    """Whether their fingerprints stand there."""
    return lookup.fingerprints[slots(lookup, keys)] == keys >> LOW_BITS


@given(st.sets(st.integers(0, 2**KEY_BITS - 1), max_size=60))
def test_each_key_has_a_slot_of_its_own_and_its_value_there(keys: set[int]) -> None:
    array = np.array(sorted(keys), np.int64)
    lookup = Lookup.of(array)
    assert slots(lookup, array).tolist() == lookup.slots.tolist()
    assert len(set(lookup.slots.tolist())) == len(keys)
    assert passes(lookup, array).all()
    values = np.arange(2 * len(keys)).reshape(-1, 2)
    table = lookup.spread(values)
    assert (table[lookup.slots] == values).all()
    assert table.sum() == values.sum()


def test_many_keys_fill_the_slots_and_few_strangers_pass() -> None:
    random = np.random.default_rng(1)
    keys = np.unique(random.integers(0, 2**KEY_BITS, 20_000))
    lookup = Lookup.of(keys)
    assert passes(lookup, keys).all()
    assert len(lookup.fingerprints) < 1.06 * len(keys)
    strangers = np.setdiff1d(random.integers(0, 2**KEY_BITS, 10**6), keys)
    assert passes(lookup, strangers).mean() < 5e-5
