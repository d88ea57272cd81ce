"""Names as three flat arrays on disk: memory-mapped, no Python object per name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from stages.core.errors import UserError

CHUNK = 2**20  # values at once


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
    """Write the arrays of one split chunk by chunk; the sizes are known beforehand."""

    def __init__(
        self, folder: Path, names: int, codes: int, code_type: type[Any], label_type: type[Any]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._codes = _Column(folder / "codes.npy", codes, code_type)
        self._offsets = _Column(folder / "offsets.npy", names + 1, np.int64)
        self._labels = _Column(folder / "labels.npy", names, label_type)
        self._seen = _Column(folder / "seen.npy", names, np.bool_)
        self._by_length = _Column(folder / "by_length.npy", names, np.uint32)
        self._offsets.append(np.zeros(1))
        self._end = 0
        self._lengths = np.zeros(1, dtype=np.int64)  # names of each length

    def add(
        self,
        codes: NDArray[Any],
        offsets: NDArray[np.int64],
        labels: NDArray[Any],
        seen: NDArray[np.bool_],
    ) -> None:
        """Append names as `Vocabulary.encode` gives them."""
        self._codes.append(codes)
        self._offsets.append(self._end + offsets[1:])
        self._labels.append(labels)
        self._seen.append(seen)
        self._end += len(codes)
        counts = np.bincount(np.diff(offsets), minlength=len(self._lengths))
        counts[: len(self._lengths)] += self._lengths
        self._lengths = counts

    def close(self) -> None:
        """Sort by length and flush to disk; every announced name must have come."""
        for column in (self._codes, self._offsets, self._labels, self._seen):
            column.close()
        # A counting sort: each length's place is known, and each chunk's rows ascend.
        place = np.cumsum(self._lengths) - self._lengths
        row = 0
        for offsets in self._offsets.chunks(overlap=1):
            lengths = np.diff(offsets)
            order = np.argsort(lengths.astype(np.uint16), kind="stable")  # small: by radix
            here, counts = np.unique(lengths, return_counts=True)
            for length, rows in zip(here, np.split(order, np.cumsum(counts)[:-1]), strict=True):
                self._by_length.put(int(place[length]), row + rows)
                place[length] += len(rows)
            row += len(lengths)
        self._by_length.close()


class _Column:
    """A NumPy file that is written piece by piece: the pages of a memory map count as memory."""

    def __init__(self, path: Path, size: int, dtype: type[Any]) -> None:
        self._path, self._size, self._dtype = path, size, np.dtype(dtype)
        self._written = 0
        self._file = path.open("wb")
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (size,)}
        write_array_header_1_0(self._file, header)
        self._start = self._file.tell()

    def append(self, values: NDArray[Any]) -> None:
        """Write ``values`` behind those written last."""
        with self._named_in_errors():
            self._file.write(np.ascontiguousarray(values, dtype=self._dtype).data)
        self._written += len(values)

    def put(self, place: int, values: NDArray[Any]) -> None:
        """Write ``values`` from ``place`` on."""
        with self._named_in_errors():
            self._file.seek(self._start + place * self._dtype.itemsize)
        self.append(values)

    def close(self) -> None:
        """Flush; every announced value must have come."""
        with self._named_in_errors():
            self._file.close()
        if self._written != self._size:
            raise RuntimeError(f"{self._path}: {self._written} of {self._size} were written")

    @contextmanager
    def _named_in_errors(self) -> Iterator[None]:
        """Say which file does not fit on a full disk."""
        try:
            yield
        except OSError as error:
            error.filename = str(self._path)
            raise

    def chunks(self, overlap: int) -> Iterator[NDArray[Any]]:
        """The values again, each chunk beginning with the last ``overlap`` of the one before."""
        with self._path.open("rb") as file:
            for start in range(0, self._size - overlap, CHUNK):
                file.seek(self._start + start * self._dtype.itemsize)
                yield np.fromfile(file, dtype=self._dtype, count=CHUNK + overlap)
