"""Batches of names of exactly one length: no padding, hence no packing and no masks."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.corpus.dataset import Names

Rows = NDArray[np.int64] | NDArray[np.uint32]
Places = NDArray[np.int64]
ROUNDS = 6  # of the shuffling network


@dataclass(frozen=True)
class Batch:
    """Names of one length.

    Attributes:
        rows: (batch,) their places in the split.
        codes: (batch, length) with marks, int64, on the device.
        labels: (batch,) int64, on the device.
    """

    rows: Rows
    codes: Tensor
    labels: Tensor


class TrainingOrder(Sequence[Rows]):
    """Rows of each batch of one epoch: names shuffled within a length, and batches shuffled.

    A function of its arguments alone, so that a resumed run and every process of a shared one
    see the same order. Rows are computed when a batch is asked for: no list of all names is held.
    """

    def __init__(self, names: Names, batch_size: int, seed: int, epoch: int) -> None:
        self._names, self._batch_size, self._key = names, batch_size, (seed, epoch)
        self._bounds = names.length_bounds()
        batches = -(-np.diff(self._bounds) // batch_size)
        self._first = np.concatenate([[0], np.cumsum(batches)])  # batch of each length

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, number: int) -> Rows:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(number)
        batch = permuted(np.array([number]), len(self), (*self._key, 0))[0]
        length = int(np.searchsorted(self._first, batch, side="right")) - 1
        begin, end = self._bounds[length : length + 2].tolist()
        start = int(batch - self._first[length]) * self._batch_size
        places = np.arange(start, min(start + self._batch_size, end - begin))
        places = permuted(places, end - begin, (*self._key, 1 + length))
        rows: Rows = self._names.by_length[begin + places]
        return rows


def permuted(places: Places, count: int, key: tuple[int, ...]) -> Places:
    """Where the permutation of range(count) that ``key`` names sends ``places``.

    A Feistel network shuffles the cells of the tightest near-square table; what lands outside of
    ``count`` goes through it again (Black & Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
    """
    columns = np.uint64(math.isqrt(count - 1) + 1)
    lines = (np.uint64(count - 1) // columns) + np.uint64(1)
    values = places.astype(np.uint64)
    outside = np.arange(len(values))
    while len(outside):
        line, column = np.divmod(values[outside], columns)
        for even, odd in _round_keys(key):
            line = (line + _hash(column + even)) % lines
            column = (column + _hash(line + odd)) % columns
        values[outside] = line * columns + column
        outside = outside[values[outside] >= count]
    return values.astype(np.int64)


def _hash(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers below 2**32 without a pattern (the finaliser of MurmurHash3)."""
    values = (values ^ values >> np.uint64(33)) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ values >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
    return values >> np.uint64(32)


@cache
def _round_keys(key: tuple[int, ...]) -> NDArray[np.uint64]:
    keys: NDArray[np.uint64] = np.random.SeedSequence(key).generate_state(ROUNDS, np.uint64)  # type: ignore[assignment]
    return keys.reshape(-1, 2)


def evaluation_order(names: Names, batch_size: int) -> list[Rows]:
    """Rows of each batch, short names first."""
    bounds = names.length_bounds().tolist()
    return [
        names.by_length[start : min(start + batch_size, end)]
        for begin, end in itertools.pairwise(bounds)
        for start in range(begin, end, batch_size)
    ]


def load_batches(names: Names, order: Iterable[Rows], device: torch.device) -> Iterator[Batch]:
    """Read the batches of ``order`` from disk and put them on the device."""
    for rows in order:
        starts = names.offsets[rows]
        length = int(names.offsets[int(rows[0]) + 1] - starts[0])
        codes = names.codes[starts[:, None] + np.arange(length)].astype(np.int64)
        labels = names.labels[rows].astype(np.int64)
        yield Batch(
            rows,
            torch.from_numpy(codes).to(device, non_blocking=True),
            torch.from_numpy(labels).to(device, non_blocking=True),
        )
