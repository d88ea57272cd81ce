"""Row groups of clean names: which rows are held out, what stands in them, and their codes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.core.params import IndexParams
from stages.corpus.dataset import write_slice
from stages.corpus.vocabulary import Vocabulary, codepoints

SPLITS = ("train", "validation", "calibration", "test")
TRAIN, VALIDATION, CALIBRATION, TEST = range(4)
Sizes = NDArray[np.int64]  # (splits, 2): names and codes of each


class RowGroup(NamedTuple):
    """A task: a row group of a clean file, and how many rows stand before it."""

    path: str
    number: int
    first: int


def row_groups(path: Path) -> Iterator[RowGroup]:
    """All row groups of a clean file.

    Raises:
        UserError: there is no such file.
    """
    try:
        metadata = pq.read_metadata(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not there; run dvc repro ingest") from None
    first = 0
    for number in range(metadata.num_row_groups):
        yield RowGroup(str(path.absolute()), number, first)
        first += metadata.row_group(number).num_rows


@dataclass(frozen=True)
class HoldOut:
    """Which rows of the training file are held out: a function of seed, row and name alone.

    Attributes:
        params: shares and seed.
        kept: names that are in training whatever their hashes are.
    """

    params: IndexParams
    kept: frozenset[str] = field(default_factory=frozenset)

    def split(self, names: pd.Series, first: int) -> NDArray[np.int8]:
        """Split of each row of a row group, as a place in `SPLITS`; ``first`` is its first row."""
        split = np.full(len(names), TRAIN, dtype=np.int8)
        # One draw per row, which other rows do not change: rows, not names, since the temperature
        # is for names as they come, and of those some stand in training.
        draws = np.random.PCG64(self.params.seed).advance(first).random_raw(len(names))
        split[draws < self.params.calibration * 2.0**64] = CALIBRATION
        categories = names.cat.categories
        if self.params.validation:
            limit = int(self.params.validation * 2**64).to_bytes(8, "big")
            held = [self._hash(name) < limit for name in categories]
            split[np.array(held)[names.cat.codes]] = VALIDATION
        if self.kept:
            split[categories.isin([*self.kept])[names.cat.codes]] = TRAIN
        return split

    def _hash(self, name: str) -> bytes:
        """The same for a name on any machine: whole names are held out, so that none leaks."""
        return hashlib.md5(f"{self.params.seed} {name}".encode(), usedforsecurity=False).digest()


def read_group(group: RowGroup, hold_out: HoldOut | None) -> pd.DataFrame:
    """Name and country of each row, as categories, and its split; without ``hold_out``, test."""
    with pq.ParquetFile(group.path, read_dictionary=["name", "country"]) as file:
        frame: pd.DataFrame = file.read_row_group(group.number).to_pandas()
    return frame.assign(split=hold_out.split(frame["name"], group.first) if hold_out else TEST)


class Survey(NamedTuple):
    """What stands in row groups of the training file.

    Attributes:
        characters: code point -> how often the training split has it.
        countries: country -> its first name, and whether the training split has a row of it.
        seen: (names asked for,) whether the training split has the name.
    """

    characters: pd.Series
    countries: pd.DataFrame
    seen: NDArray[np.bool_]


def survey(group: RowGroup, hold_out: HoldOut, asked: pd.Index) -> tuple[Sizes, Survey]:
    """Look through a row group of the training file; ``asked`` are the distinct test names."""
    frame = read_group(group, hold_out)
    names = frame["name"].cat.categories
    frame["trained"] = frame["split"] == TRAIN
    rows = np.bincount(frame.loc[frame["trained"], "name"].cat.codes, minlength=len(names))
    weights = np.repeat(rows, names.str.len())
    counts = np.bincount(codepoints("".join(names.tolist())), weights).astype(np.int64)
    countries = frame.groupby("country", observed=True).agg({"name": "first", "trained": "any"})
    points = np.flatnonzero(counts)
    seen = np.zeros(len(asked), dtype=bool)
    seen[np.setdiff1d(asked.get_indexer(names[rows > 0]), -1)] = True
    return sizes_of(frame), Survey(
        pd.Series(counts[points], points), countries.astype({"name": "str"}), seen
    )


def survey_test(group: RowGroup) -> tuple[Sizes, pd.Index]:
    """Sizes and distinct names of a row group of the test file."""
    frame = read_group(group, None)
    return sizes_of(frame), frame["name"].cat.categories


def sizes_of(frame: pd.DataFrame) -> Sizes:
    """Names and codes of each split."""
    lengths = (frame["name"].cat.categories.str.len() + 2).to_numpy()
    codes = lengths[frame["name"].cat.codes]
    columns = [np.bincount(frame["split"], weights, len(SPLITS)) for weights in (None, codes)]
    return np.stack(columns, axis=1).astype(np.int64)


@dataclass(frozen=True)
class Encoder:
    """Write row groups into the arrays of ``folder``, which holds a folder per split.

    Attributes:
        vocabulary: turns names into codes.
        countries: in the order of their labels.
        seen: the test names that the training split has.
    """

    folder: Path
    vocabulary: Vocabulary
    countries: list[str]
    seen: pd.Index

    def write(self, task: tuple[RowGroup, HoldOut | None, Sizes]) -> int:
        """Write a row group behind so many names and codes of each split; return its rows."""
        group, hold_out, before = task
        frame = read_group(group, hold_out)
        codes, offsets = self.vocabulary.encode(frame["name"].cat.categories.tolist())
        encoded = pa.LargeListArray.from_arrays(offsets, codes)
        frame["label"] = frame["country"].cat.set_categories(self.countries).cat.codes
        for split in np.unique(frame["split"]).tolist():
            rows = frame[frame["split"] == split]
            names = encoded.take(pa.array(rows["name"].cat.codes))
            first_name, first_code = before[split].tolist()
            seen = rows["name"].isin(self.seen) if split == TEST else split != VALIDATION
            write_slice(
                self.folder / SPLITS[split],
                {
                    "codes": (first_code, names.flatten().to_numpy()),
                    "offsets": (first_name + 1, names.offsets.to_numpy()[1:] + first_code),
                    "labels": (first_name, rows["label"].to_numpy()),
                    "seen": (first_name, np.full(len(rows), seen)),
                },
            )
        return len(frame)
