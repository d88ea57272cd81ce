"""A dictionary of hashes that a graph of tensor operations can read: two look-ups, no search."""

import math
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.model.wide import HIGHEST_HASH

KEY_BITS = HIGHEST_HASH.bit_length()
LOW_BITS = KEY_BITS - 16  # of a key, which its fingerprint leaves out
GROUP = 4  # keys of a group, on average
LOAD = 0.95  # share of the slots that are taken
TRIED = 64  # displacements of a group that are tried at once


@dataclass(frozen=True)
class Lookup:
    """Slots of keys: that of a key is ``(key - displacements[key % groups]) % slots``.

    A key that was not given has a slot, too; its fingerprint there is mostly another key's.

    Attributes:
        displacements: (groups,) uint16; groups is a power of two.
        fingerprints: (slots,) uint16, the highest bits of the keys; 0 in a slot of no key.
        slots: (keys,) those of the keys.
    """

    displacements: NDArray[np.uint16]
    fingerprints: NDArray[np.uint16]
    slots: NDArray[np.int64]

    @classmethod
    def of(cls, keys: NDArray[np.int64]) -> "Lookup":
        """Build it by Belazzougui, Botelho & Dietzfelbinger, Hash, Displace, and Compress, 2009.

        Args:
            keys: different ones, of `KEY_BITS` bits.
        """
        groups = 1 << max(0, math.ceil(math.log2(max(len(keys), 1) / GROUP)))
        # An odd number of slots: then two keys of one group rarely have the same remainder.
        tries = (_displace(keys, groups, size) for size in count(int(len(keys) / LOAD) | 1, 2))
        size, displacements, slots = next(filter(None, tries))
        fingerprints = np.zeros(size, np.uint16)
        fingerprints[slots] = keys >> LOW_BITS
        return cls(displacements, fingerprints, slots)

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """(slots, ...) the values of the keys in their slots; 0 in a slot of no key."""
        table = np.zeros((len(self.fingerprints), *values.shape[1:]), values.dtype)
        table[self.slots] = values
        return table


def _displace(
    keys: NDArray[np.int64], groups: int, size: int
) -> tuple[int, NDArray[np.uint16], NDArray[np.int64]] | None:
    """The size, displacements and the keys' slots, the largest groups first.

    None if a group fits nowhere.
    """
    group = keys & (groups - 1)
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=groups)
    ends = np.cumsum(sizes)
    displacements, slots = np.zeros(groups, np.uint16), np.empty(len(keys), np.int64)
    taken = np.zeros(size, bool)
    for number in np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]:
        members = order[ends[number] - sizes[number] : ends[number]]
        homes = keys[members] % size
        if len(np.unique(homes)) < len(homes):
            return None
        for first in range(0, 2**16, TRIED):
            tried = (homes[:, None] - np.arange(first, first + TRIED)) % size
            free = ~taken[tried].any(axis=0)
            if free.any():
                break
        else:
            return None
        best = int(free.argmax())
        displacements[number] = first + best
        slots[members] = tried[:, best]
        taken[tried[:, best]] = True
    return size, displacements, slots
