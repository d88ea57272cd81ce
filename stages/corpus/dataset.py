"""Names as flat arrays on disk: memory-mapped, no Python object per name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from stages.core.errors import UserError

ARRAYS = ("codes", "offsets", "labels", "seen")
LABEL = np.uint16


@dataclass(frozen=True)
class Names:
    """Encoded names of one split.

    Attributes:
        codes: (sum of lengths,) codes of all names, begin and end included, end to end.
        offsets: (names + 1,) name i is ``codes[offsets[i]:offsets[i + 1]]``.
        labels: (names,) country of each name, as its place in the country index.
        seen: (names,) whether the training split has the name. Exact for the test split; in the
            others True for rows of training and calibration, False for those of validation.
    """

    codes: NDArray[Any]
    offsets: NDArray[np.int64]
    labels: NDArray[Any]
    seen: NDArray[np.bool_]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map the arrays in ``folder``."""
        try:
            return cls(*(np.load(folder / f"{array}.npy", mmap_mode="r") for array in ARRAYS))
        except FileNotFoundError as error:
            raise UserError(f"{error.filename}: not there; run dvc repro index") from None
        except (EOFError, ValueError) as error:
            raise UserError(f"{folder}: damaged: {error}; run dvc repro index") from None

    def __len__(self) -> int:
        return len(self.labels)


def allocate(folder: Path, names: int, codes: int, code_type: type[Any]) -> None:
    """Make the files of a split, which `write_slice` fills."""
    folder.mkdir()
    sizes = {"codes": codes, "offsets": names + 1, "labels": names, "seen": names}
    types = {"codes": code_type, "offsets": np.int64, "labels": LABEL, "seen": np.bool_}
    for array, size in sizes.items():
        path = folder / f"{array}.npy"
        try:
            open_memmap(path, "w+", types[array], (size,))
        except OSError as error:
            error.filename = str(path)  # NumPy names no file when the disk is full
            raise


def write_slice(folder: Path, slices: Mapping[str, tuple[int, NDArray[Any]]]) -> None:
    """Write values of arrays from given places on; to do it twice changes nothing.

    Not through the memory map: there, a full disk kills the process instead of raising.
    """
    for array, (start, values) in slices.items():
        path = folder / f"{array}.npy"
        mapped = np.load(path, mmap_mode="r")
        if start + len(values) > len(mapped):
            raise RuntimeError(f"{path}: {start + len(values)} of {len(mapped)} values")
        try:
            with path.open("r+b") as file:
                file.seek(mapped.offset + start * mapped.itemsize)
                file.write(np.ascontiguousarray(values, dtype=mapped.dtype).data)
        except OSError as error:
            error.filename = str(path)  # says which file does not fit on a full disk
            raise
