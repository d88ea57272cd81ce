"""Names as flat arrays on disk: memory-mapped, no Python object per name."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from stages.core.errors import UserError

ARRAYS = ("codes", "offsets", "labels", "seen")
LABEL = np.uint16
CHUNK = 2**17  # names


@dataclass(frozen=True)
class Names:
    """Encoded names of one split.

    Attributes:
        codes: (sum of lengths,) codes of all names, begin and end included, end to end.
        offsets: (names + 1,) name i is ``codes[offsets[i]:offsets[i + 1]]``.
        labels: (names,) country of each name, as its position in the country index.
        seen: (names,) of the test split, whether the training split has the name; else True.
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

    def chunks(self) -> Iterator["Names"]:
        """The names in parts of `CHUNK`, so that not all are in memory."""
        for start in range(0, len(self), CHUNK):
            offsets, rows = self.offsets[start : start + CHUNK + 1], slice(start, start + CHUNK)
            codes = np.asarray(self.codes[offsets[0] : offsets[-1]])
            yield Names(codes, offsets - offsets[0], self.labels[rows], self.seen[rows])


def append(folder: Path, names: Names) -> None:
    """Append names to the arrays in ``folder``, which is made if it is not there."""
    folder.mkdir(exist_ok=True)
    arrays = dict(vars(names))
    if (folder / "offsets.npy").exists():
        arrays["offsets"] = names.offsets[1:] + Names.load(folder).offsets[-1]
    for array, values in arrays.items():
        path = folder / f"{array}.npy"
        try:
            _append(path, values)
        except OSError as error:
            error.filename = str(path)  # that of a full disk names no file
            raise


def _append(path: Path, values: NDArray[Any]) -> None:
    """Append to an .npy file: NumPy leaves room in its header for any length.

    Not through a memory map: there, a full disk kills the process instead of raising.
    """
    length = len(np.load(path, mmap_mode="r")) if path.exists() else 0
    header = {"descr": values.dtype.str, "fortran_order": False, "shape": (length + len(values),)}
    with path.open("r+b" if length else "wb") as file:
        write_array_header_1_0(file, header)
        file.seek(0, os.SEEK_END)
        file.write(values.data)
