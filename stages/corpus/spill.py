"""Records keyed by a hash, kept on disk in partitions: counting without a set in memory."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.corpus.texts import flat

PARTITIONS = 64
_SHIFT = np.uint64(64 - 6)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_NUMBERS = np.random.Generator(np.random.PCG64(1)).integers(2**64, size=256, dtype=np.uint64)


def hashes(values: pa.StringArray) -> NDArray[np.uint64]:
    """64-bit keys of strings, the same on every run and machine.

    A polynomial over the bytes, each of which stands for a random number, modulo 2**64; its bits
    are then mixed, since the high ones choose the partition.
    """
    text, edges = flat(values)
    lengths = np.diff(edges)
    place = np.arange(len(text)) - np.repeat(edges[:-1], lengths)
    powers = np.full(lengths.max(initial=0) + 1, _FACTOR).cumprod()
    sums = np.zeros(len(text) + 1, dtype=np.uint64)
    np.cumsum(_NUMBERS[text] * powers[place], out=sums[1:])
    key: NDArray[np.uint64] = sums[edges[1:]] - sums[edges[:-1]]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
    return key ^ (key >> np.uint64(31))


def mix(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Key of pairs of keys (the order within a pair counts)."""
    return left * _FACTOR ^ right


def distinct(keys: NDArray[np.uint64]) -> int:
    """How many different keys; by sorting, for which NumPy needs a tenth of what `unique` does."""
    ascending = np.sort(keys)
    return int(np.count_nonzero(ascending[1:] != ascending[:-1])) + bool(len(keys))


def among(keys: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of a few keys are among many: `np.isin` by sorting, as in `distinct`."""
    ascending = np.sort(known)
    found: NDArray[np.bool_] = np.searchsorted(ascending, keys) < np.searchsorted(
        ascending, keys, side="right"
    )
    return found


class Spill:
    """Append records whose first field is ``key``; read them back partition by partition.

    All records of one key are in one partition, and the partitions ascend by key.
    """

    def __init__(self, folder: Path, dtype: NDArray[Any] | np.dtype[Any]) -> None:
        folder.mkdir(parents=True)
        self._dtype = np.dtype(dtype)
        self._paths = [folder / f"{n:02d}" for n in range(PARTITIONS)]
        self._files = [path.open("wb") for path in self._paths]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()

    def add(self, records: NDArray[Any]) -> None:
        """Append records of the dtype."""
        part = (records["key"] >> _SHIFT).astype(np.uint8)  # small: sorted by radix
        order = np.argsort(part, kind="stable")
        cuts = np.searchsorted(part[order], np.arange(PARTITIONS + 1))
        records = records[order]
        for n, file in enumerate(self._files):
            file.write(records[cuts[n] : cuts[n + 1]].tobytes())

    def partitions(self) -> Iterator[NDArray[Any]]:
        """All records, one partition at a time, each sorted by key (stable)."""
        for file, path in zip(self._files, self._paths, strict=True):
            file.flush()
            records = np.fromfile(path, dtype=self._dtype)
            yield records[np.argsort(records["key"], kind="stable")]
