"""CSVs of people that a model is scored on, and which of their surnames are in training."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.corpus.dataset import Names
from stages.corpus.full_names import split_columns, surname, usable_name
from stages.corpus.normalize import Form, Rejected
from stages.corpus.rows import Format
from stages.corpus.tables import Table
from stages.corpus.vocabulary import Vocabulary


def people_files(people: str | Sequence[str] | None) -> dict[str, str]:
    """The file names in ``evaluate.people`` by the prefix of their metrics: people, persons.

    Raises:
        UserError: two files have the same prefix.
    """
    names = [people] if isinstance(people, str) else people or []
    files = {name.partition(".")[0].removeprefix("names_"): name for name in names}
    if len(files) < len(names):
        raise UserError("evaluate.people: the metrics of two files would have the same names")
    return files


def read_people(
    path: Path,
    countries: Collection[str],
    names: Literal["surnames", "full", "both"],
    form: Form,
    max_length: int,
) -> pd.DataFrame:
    """The people of these countries in a CSV that has a header.

    Its columns are surname and country, and may be given.

    Args:
        path: the CSV.
        countries: the countries that the model knows.
        names: what the model was trained on.
        form: the spelling of names, see `normalise`.
        max_length: the most characters of a name.

    Returns:
        ``surname``, ``full_name`` and ``country`` of each; a full name is empty without a given
        name, and for a model of surnames.

    Raises:
        UserError: the file cannot be read, lacks a column or has an unusable name.
    """
    full, table = names != "surnames", Table(path, Format(keys=""))
    for column in ("surname", "country"):
        if column not in table.header:
            raise UserError(f"{path}: has no column {column!r}; its first line is its header")
    rows: pd.DataFrame = pa.Table.from_batches(
        [batch for batch, _ in table.batches()], table.schema
    ).to_pandas()
    if table.first_problem:
        raise UserError(table.first_problem)
    rows = rows[rows["country"].isin([*countries])].fillna("").reset_index(drop=True)
    given = rows["given"] if full and "given" in rows else [""] * len(rows)
    try:
        rows["full_name"] = [
            first and usable_name(split_columns(first, family), form, max_length, full)
            for first, family in zip(given, rows["surname"], strict=True)
        ]
        rows["surname"] = [usable_name(name, form, max_length, full) for name in rows["surname"]]
    except Rejected as reason:
        raise UserError(f"{path}: {reason}; set evaluate.people") from None
    return rows[["surname", "full_name", "country"]]


class Question(NamedTuple):
    """The people of one file by surname or by full name, to be predicted.

    Attributes:
        prefix: what their metrics begin with: people, people_full.
        by_surname: whether they are surnames, not full names.
        texts: the names.
        labels: (names,) positions of the true countries among those that the model knows.
    """

    prefix: str
    by_surname: bool
    texts: list[str]
    labels: NDArray[np.intp]


def questions(
    folder: Path, files: Mapping[str, str], countries: Sequence[str], *form: Any
) -> Iterator[Question]:
    """All files by surname, each followed by the same people by full name if the model reads those.

    Args:
        folder: the folder of the files.
        files: the file names by the prefix of their metrics.
        countries: the countries that the model knows.
        form: the other arguments of `read_people`.
    """
    for prefix, file in files.items():
        people = read_people(folder / file, countries, *form)
        for column, end in (("surname", ""), ("full_name", "_full")):
            rows = people[people[column] != ""]
            if len(rows):
                labels = pd.Index(countries).get_indexer(pd.Index(rows["country"]))
                yield Question(prefix + end, not end, rows[column].tolist(), labels)


def surnames_in(train: Names, surnames: Sequence[str], vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """(surnames,) whether a training name is or ends with the surname.

    Args:
        train: the names that the model was trained on.
        surnames: normalised surnames.
        vocabulary: the vocabulary of the training names.
    """
    # Rare characters share a code, in the training names as well.
    decoded = pd.Index(vocabulary.decode(*vocabulary.encode(surnames)))
    seen = np.zeros(len(decoded), dtype=bool)
    for chunk in train.chunks():
        names = vocabulary.decode(chunk.codes, chunk.offsets)
        seen |= decoded.isin({*names, *(surname(name) for name in names if " " in name)})
    return seen
