"""The dictionary of hashes: each key has a slot of its own, and strangers rarely pass for one."""

import numpy as np
import pytest

from stages.serving.lookup import KEY_BITS, LOW_BITS, Lookup


def slots(lookup: Lookup, keys: np.ndarray) -> np.ndarray:
    """Where the graph looks for keys."""
    moved = lookup.displacements[keys % len(lookup.displacements)].astype(int)
    return (keys - moved) % len(lookup.fingerprints)


@pytest.mark.parametrize("number", [0, 1, 5, 20_000])
def test_each_key_has_a_slot_of_its_own_and_few_strangers_pass(number: int) -> None:
    random = np.random.default_rng(1)
    keys = np.unique(random.integers(0, 2**KEY_BITS, number))
    lookup = Lookup.of(keys)
    assert slots(lookup, keys).tolist() == lookup.slots.tolist()
    assert len(set(lookup.slots.tolist())) == len(keys)
    assert (lookup.fingerprints[lookup.slots] == keys >> LOW_BITS).all()
    assert len(lookup.fingerprints) <= 1.06 * len(keys) + 10
    values = np.arange(2 * len(keys)).reshape(-1, 2)
    table = lookup.spread(values)
    assert (table[lookup.slots] == values).all() and table.sum() == values.sum()
    strangers = np.setdiff1d(random.integers(0, 2**KEY_BITS, 10**6), keys)
    passed = lookup.fingerprints[slots(lookup, strangers)] == strangers >> LOW_BITS
    assert passed.mean() < 5e-5
