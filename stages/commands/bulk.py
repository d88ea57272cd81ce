"""`onoma predict --input`: a table with a column of names -> the same table with countries."""

import os
from collections.abc import Callable
from dataclasses import astuple, dataclass
from operator import add
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.commands.tables import Source, create, kind
from stages.core.errors import Interrupted, UserError, brief
from stages.core.interrupt import StopRequest
from stages.core.progress import Progress
from stages.serving.bundle import load
from stages.serving.predictor import UNSURE, Predictor

REMEMBERED = 2**18  # names whose answers are kept
DECIMALS = 4  # of a probability

Answers = NDArray[np.void]


@dataclass(frozen=True)
class Options:
    """What is predicted: the options of the command of the same names."""

    model: Path
    column: str
    prefix: str
    top: int
    abstain: float


@dataclass
class Counts:
    """Rows written, names computed, rows with an unusable name, rows of the input left out."""

    rows: int = 0
    computed: int = 0
    unusable: int = 0
    skipped: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(add, astuple(self), astuple(other)))

    def __str__(self) -> str:
        skipped = f", {self.skipped:,} rows left out (too few or many fields)"
        return (
            f"{self.rows:,} rows, {self.computed:,} names computed, {self.unusable:,} rows with an "
            f"unusable name and no answer{skipped if self.skipped else ''}"
        )


def predict_file(path: Path, target: Path, options: Options) -> None:
    """Write ``target``, a table as ``path`` is, with all processors."""
    model, source = load(options.model, threads=os.cpu_count() or 1), Source(path)
    with StopRequest() as stop, Progress("predict", source.rows, "rows") as progress:

        def advance(rows: int) -> None:
            progress.advance(rows)
            if stop.reason:
                raise Interrupted(f"stopped by {stop.reason}; {target} is unchanged")

        counts = add_countries(source, target, model, options, advance)
    print(f"predict: {counts}; wrote {target}")


def add_countries(
    source: Source,
    target: Path,
    model: Predictor,
    options: Options,
    advance: Callable[[int], None] = lambda rows: None,
) -> Counts:
    """Write a table with the columns of the answers to ``target``, which appears when it is whole.

    Args:
        source: the table.
        target: .csv, .csv.gz or .parquet.
        model: answers.
        options: the column of names, and which columns are added.
        advance: called with the number of rows just written.

    Raises:
        UserError: the input cannot be read or is the output, or the columns do not fit.
    """
    kind(target)
    if target.exists() and target.samefile(source.path):
        raise UserError(f"{target}: is also the input; choose another --output")
    source.check_text(options.column)
    answer = Answerer(model, options.top)
    schema, counts = source.schema, Counts()
    new = answer.columns(answer(pa.array([], pa.string())), options.abstain, options.prefix)
    for name, values in new.items():
        if name in source.schema.names:
            raise UserError(
                f"{source.path}: already has a column {brief(name, 60)!r}; "
                "give a --prefix for the new columns"
            )
        schema = schema.append(pa.field(name, values.type))
    with create(target, schema) as write:
        for batch in source.batches():
            answers = answer(batch.column(options.column))
            counts.rows += len(answers)
            counts.unusable += int(np.isnan(answers["probability"][:, 0]).sum())
            added = answer.columns(answers, options.abstain, options.prefix)
            columns = [
                column.cast(field.type)
                for column, field in zip([*batch.columns, *added.values()], schema, strict=True)
            ]
            write(pa.record_batch(columns, schema=schema))
            advance(len(batch))
    counts.computed, counts.skipped = answer.computed, source.skipped
    return counts


class Answerer:
    """Answers of a model for columns of names; a repeated name is computed once.

    Attributes:
        computed: number of names computed so far.
    """

    def __init__(self, model: Predictor, top: int) -> None:
        self.computed = 0
        self._model = model
        self._top = min(top, len(model.countries))
        self._record = np.dtype([("place", "<u2", self._top), ("probability", "<f4", self._top)])
        self._known: dict[bytes | None, bytes] = {}

    def __call__(self, column: pa.Array) -> Answers:
        """One answer per row; its probabilities are NaN if the name is unusable or null."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        encoded = column.cast(pa.binary()).dictionary_encode(null_encoding="encode")
        names: list[bytes | None] = encoded.dictionary.to_pylist()
        if len(self._known) > REMEMBERED:  # start again: frequent names soon return
            self._known = {}
        missing = [name for name in names if name not in self._known]
        for name, answer in zip(missing, self._compute(missing), strict=True):
            self._known[name] = answer.tobytes()
        table = np.frombuffer(b"".join(map(self._known.__getitem__, names)), self._record)
        return np.asarray(table[encoded.indices.to_numpy()])

    def _compute(self, names: list[bytes | None]) -> Answers:
        self.computed += len(names) - (None in names)
        # An empty name is unusable, as a null is.
        texts = [(name or b"").decode("utf-8", "surrogateescape") for name in names]
        answers = np.empty(len(names), self._record)
        answers["place"], probabilities, _ = self._model.ranked(texts, self._top)
        answers["probability"] = probabilities.round(DECIMALS)
        return answers

    def columns(self, answers: Answers, abstain: float, prefix: str) -> dict[str, Any]:
        """The answers as named Arrow arrays; null where the name is unusable."""
        countries = pa.array([*self._model.countries, UNSURE])
        places, probabilities = answers["place"].astype(np.int32), answers["probability"]
        unusable = np.isnan(probabilities[:, 0])
        best = np.where(probabilities[:, 0] < abstain, len(countries) - 1, places[:, 0])
        ranks = [("", best, probabilities[:, 0])]
        ranks += [(f"_{n + 1}", places[:, n], probabilities[:, n]) for n in range(self._top)]
        found: dict[str, Any] = {}
        for rank, place, probability in ranks:
            found[f"{prefix}country{rank}"] = countries.take(pa.array(place, mask=unusable))
            found[f"{prefix}probability{rank}"] = pa.array(probability, mask=unusable)
        return found
