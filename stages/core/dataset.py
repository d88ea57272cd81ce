"""Names as three flat arrays on disk: memory-mapped, no Python object per name."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from stages.core.errors import UserError


@dataclass(frozen=True)
class Names:
    """Encoded names of one split.

    Attributes:
        codes: (sum of lengths,) codes of all names, marks included, end to end.
        offsets: (names + 1,) name i is ``codes[offsets[i]:offsets[i + 1]]``.
        labels: (names,) country of each name, as its place in the country index.
        seen: (names,) whether the name also stands in the training data.
    """

    codes: NDArray[Any]
    offsets: NDArray[np.int64]
    labels: NDArray[Any]
    seen: NDArray[np.bool_]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map the arrays that `NamesWriter` wrote to ``folder``."""
        try:
            return cls(
                *(
                    np.load(folder / f"{part}.npy", mmap_mode="r")
                    for part in ("codes", "offsets", "labels", "seen")
                )
            )
        except FileNotFoundError as error:
            raise UserError(f"{error.filename}: not there; run dvc repro index") from None
        except (EOFError, ValueError) as error:
            raise UserError(f"{folder}: damaged: {error}; run dvc repro index") from None

    def __len__(self) -> int:
        return len(self.labels)


class NamesWriter:
    """Fill the arrays of one split chunk by chunk; the sizes are known beforehand."""

    def __init__(
        self, folder: Path, names: int, codes: int, code_type: type[Any], label_type: type[Any]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._codes = _create(folder / "codes.npy", codes, code_type)
        self._offsets = _create(folder / "offsets.npy", names + 1, np.int64)
        self._labels = _create(folder / "labels.npy", names, label_type)
        self._seen = _create(folder / "seen.npy", names, np.bool_)
        self._offsets[0] = 0
        self._done = 0

    def add(
        self,
        codes: NDArray[Any],
        offsets: NDArray[np.int64],
        labels: NDArray[Any],
        seen: NDArray[np.bool_],
    ) -> None:
        """Append names as `Vocabulary.encode` gives them."""
        rows = slice(self._done, self._done + len(labels))
        base = int(self._offsets[self._done])
        self._codes[base : base + len(codes)] = codes
        self._offsets[self._done + 1 : rows.stop + 1] = base + offsets[1:]
        self._labels[rows], self._seen[rows] = labels, seen
        self._done = rows.stop

    def close(self) -> None:
        """Flush to disk; every announced name must have come."""
        if self._done != len(self._labels) or self._offsets[-1] != len(self._codes):
            raise RuntimeError(f"{self._done} of {len(self._labels)} names were written")
        for array in (self._codes, self._offsets, self._labels, self._seen):
            if isinstance(array, np.memmap):
                array.flush()


def _create(path: Path, size: int, dtype: type[Any]) -> NDArray[Any]:
    if size == 0:  # an empty file cannot be mapped
        np.save(path, np.empty(0, dtype=dtype))
        return np.empty(0, dtype=dtype)
    try:
        array = open_memmap(path, mode="w+", dtype=dtype, shape=(size,))
        if hasattr(os, "posix_fallocate"):
            # A full disk is an error now, but would be a crash once the pages are written.
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        error.filename = str(path)
        raise
    return array
