"""Row groups of clean names: which rows are held out, what stands in them, and their codes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.core.params import IndexParams
from stages.corpus.dataset import LABEL, Names
from stages.corpus.vocabulary import Vocabulary, codepoints

SPLITS = ("train", "validation", "calibration", "test")
TRAIN, VALIDATION, CALIBRATION, TEST = range(4)


class RowGroup(NamedTuple):
    """A row group of a clean file: its rows, and how many stand before them."""

    path: str
    number: int
    rows: int
    before: int


def row_groups(path: Path) -> Iterator[RowGroup]:
    """All row groups of a clean file."""
    try:
        metadata = pq.read_metadata(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not there; run dvc repro ingest") from None
    before = 0
    for number in range(metadata.num_row_groups):
        rows = metadata.row_group(number).num_rows
        yield RowGroup(str(path.absolute()), number, rows, before)
        before += rows


@dataclass(frozen=True)
class HoldOut:
    """Which rows of the training file are held out: a function of seed and row alone.

    Rows, not names: a row is a person, and so are the names that a model will be asked. Of most
    persons the surname stands in training, as that of another; of some it does not.

    Attributes:
        params: shares and seed.
        kept: names that are in training whatever their hashes are.
    """

    params: IndexParams
    kept: frozenset[str] = frozenset()

    def split(self, names: pd.Series, first: int) -> NDArray[np.int8]:
        """Split of each row of a row group, as a place in `SPLITS`; ``first`` is its first row."""
        split = np.full(len(names), TRAIN, dtype=np.int8)
        # One draw per row, which other rows do not change.
        draws = np.random.PCG64(self.params.seed).advance(first).random_raw(len(names))
        validation, calibration = self.params.validation, self.params.calibration
        split[draws < (validation + (1 - validation) * calibration) * 2.0**64] = CALIBRATION
        split[draws < validation * 2.0**64] = VALIDATION
        split[names.isin(self.kept)] = TRAIN
        return split


def read_table(group: RowGroup) -> pa.Table:
    """Name and country of each row, as Arrow dictionaries."""
    with pq.ParquetFile(group.path, read_dictionary=["name", "country"]) as file:
        return file.read_row_group(group.number)


def read_group(group: RowGroup, hold_out: HoldOut | None) -> pd.DataFrame:
    """Name and country of each row, as categories, and its split; without ``hold_out``, test."""
    frame: pd.DataFrame = read_table(group).to_pandas()
    return frame.assign(split=hold_out.split(frame["name"], group.before) if hold_out else TEST)


class Survey(NamedTuple):
    """What stands in row groups of the training file.

    Attributes:
        characters: code point -> how often the training split has it.
        countries: country -> its first name, and whether the training split has a row of it.
        seen: (test names,) whether the training split has the name.
    """

    characters: pd.Series
    countries: pd.DataFrame
    seen: NDArray[np.bool_]

    def merge(self, later: Self) -> Self:
        """What stands in these row groups and in later ones."""
        countries = pd.concat([self.countries, later.countries]).groupby(level=0)
        return self._replace(
            characters=pd.concat([self.characters, later.characters]).groupby(level=0).sum(),
            countries=countries.agg({"name": "first", "trained": "any"}),
            seen=self.seen | later.seen,
        )


def survey(group: RowGroup, hold_out: HoldOut, test_names: pd.Index) -> Survey:
    """Look through a row group of the training file; ``test_names`` are distinct."""
    frame = read_group(group, hold_out)
    frame["trained"] = frame["split"] == TRAIN
    names = frame["name"].cat.categories
    rows = np.bincount(frame.loc[frame["trained"], "name"].cat.codes, minlength=len(names))
    characters = pd.Series(np.repeat(rows, names.str.len()))
    counts = characters.groupby(codepoints("".join(names.tolist()))).sum()
    countries = frame.groupby("country", observed=True).agg({"name": "first", "trained": "any"})
    seen = np.zeros(len(test_names), dtype=bool)
    seen[np.setdiff1d(test_names.get_indexer(names[rows > 0]), -1)] = True
    return Survey(counts[counts > 0], countries.astype({"name": "str"}), seen)


def distinct_names(group: RowGroup) -> pd.Index:
    """Distinct names of a row group of the test file."""
    return read_group(group, None)["name"].cat.categories


def encode(
    task: tuple[RowGroup, HoldOut | None],
    vocabulary: Vocabulary,
    countries: list[str],
    seen: pd.Index,
) -> dict[str, Names]:
    """Names of a row group, for each split that it has rows of.

    Args:
        task: what `read_group` takes.
        vocabulary: turns names into codes.
        countries: in the order of their labels.
        seen: the test names that the training split has.
    """
    frame = read_group(*task)
    frame["label"] = frame["country"].cat.set_categories(countries).cat.codes
    codes, offsets = vocabulary.encode(frame["name"].cat.categories.tolist())
    encoded = pa.LargeListArray.from_arrays(offsets, codes)
    names_of = {}
    for split in np.unique(frame["split"]).tolist():
        rows = frame[frame["split"] == split]
        names = encoded.take(pa.array(rows["name"].cat.codes))
        names_of[SPLITS[split]] = Names(
            codes=names.flatten().to_numpy(),
            offsets=names.offsets.to_numpy(),
            labels=rows["label"].to_numpy(LABEL),
            seen=rows["name"].isin(seen).to_numpy() if split == TEST else np.ones(len(rows), bool),
        )
    return names_of
