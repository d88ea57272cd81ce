"""`onoma predict --input`: a table with a column of names -> the same table with answers."""

import os
from collections.abc import Callable
from dataclasses import astuple, dataclass
from operator import add
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.corpus.tables import Source, create, kind
from stages.core.errors import Interrupted, UserError, brief
from stages.core.interrupt import StopRequest
from stages.core.progress import Progress
from stages.core.text import visible
from stages.serving.held_out import reweight
from stages.serving.bundle import load
from stages.serving.predictor import AMBIGUOUS, NO_REASON, REASONS, UNSURE, Predictor

REMEMBERED, CELLS = 2**18, 2**23  # names whose answers are kept, and their probabilities, at most
DECIMALS = 4  # of a probability
SEPARATOR = "|"  # of the countries of a set


@dataclass(frozen=True)
class Options:
    """What is predicted: the options of the command of the same names."""

    model: Path
    column: str
    full_names: bool
    prefix: str
    top: int
    abstain: float
    separator: str
    encoding: str

    def source(self, path: Path) -> Source:
        """The table at ``path``."""
        return Source(path, self.separator, self.encoding)


@dataclass
class Counts:
    """Rows written, names computed, rows with an unusable name, rows that cannot be read.

    Attributes:
        problems: the first row that cannot be read, of each file that has one.
    """

    rows: int = 0
    computed: int = 0
    unusable: int = 0
    unreadable: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(add, astuple(self), astuple(other)))

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows, {self.computed:,} names computed, {self.unusable:,} rows with an "
            "unusable name and no answer"
        )


def predict_file(path: Path, target: Path, options: Options, adapt: bool = False) -> Counts:
    """Write ``target``, a table as ``path`` is, with all processors.

    Args:
        path: the table.
        target: the table with answers.
        options: see `add_answers`.
        adapt: reweight the answers by the shares of the countries in this table.
    """
    model, source = load(options.model, threads=os.cpu_count() or 1), options.source(path)
    source.check_text(options.column)
    shares = None
    if adapt:
        from stages.commands.shares import read_populations

        names = options.source(path)
        populations = read_populations(model, names, options.column, options.full_names)
        (population,) = populations.values()
        shares = population.estimate(model, None).shares
    with StopRequest() as stop, Progress("predict", source.rows, "rows") as progress:

        def advance(rows: int) -> None:
            progress.advance(rows)
            if stop.reason:
                raise Interrupted(f"stopped by {stop.reason}; {target} is unchanged")

        counts = add_answers(source, target, model, options, shares, advance)
    print(f"predict: {counts}; wrote {target}")
    print(f"model {model.model_hash}, population: {visible(model.population)}")
    return counts


def add_answers(
    source: Source,
    target: Path,
    model: Predictor,
    options: Options,
    shares: NDArray[np.floating[Any]] | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Counts:
    """Write a table with the columns of the answers to ``target``, which appears when it is whole.

    Args:
        source: the table.
        target: .csv, .csv.gz or .parquet.
        model: answers.
        options: the column of names, and which columns are added.
        shares: (countries,) reweight the answers by these.
        advance: called with the number of rows just written.

    Raises:
        UserError: the input cannot be read or is the output, or the columns do not fit.
    """
    kind(target)
    if target.exists() and target.samefile(source.path):
        raise UserError(f"{target}: is also the input; choose another --output")
    source.check_text(options.column)
    answer = Answerer(model, options.full_names)
    layout = (options.top, options.abstain, options.prefix, shares)
    schema, counts, reason = source.schema, Counts(), f"{options.prefix}reason"
    for name, values in answer.columns(answer(pa.array([], pa.string())), *layout).items():
        if name in source.schema.names:
            raise UserError(
                f"{source.path}: already has a column {brief(name, 60)!r}; "
                "give a --prefix for the new columns"
            )
        schema = schema.append(pa.field(name, values.type))
    with create(target, schema) as write:
        for batch, problems in source.batches():
            names, unreadable = batch.column(options.column), problems.is_valid()
            if bad := unreadable.true_count:
                names = pc.if_else(unreadable, pa.scalar(None, names.type), names)
            places = answer(names)
            counts.rows += len(places)
            counts.unusable += int(np.isnan(answer.probabilities[places, 0]).sum()) - bad
            added = answer.columns(places, *layout)
            added[reason] = pc.coalesce(problems, added[reason])
            columns = [
                column.cast(field.type)
                for column, field in zip([*batch.columns, *added.values()], schema, strict=True)
            ]
            write(pa.record_batch(columns, schema=schema))
            advance(len(batch))
    counts.computed, counts.unreadable = answer.computed, source.unreadable
    counts.problems = (f"{source.path}, {source.first}",) if source.first else ()
    return counts


class Answerer:
    """Answers of a model for columns of names; a repeated name is computed once.

    Attributes:
        computed: number of names computed so far.
        probabilities: (places, countries) of the names that are remembered; NaN if unusable.
        reasons: (places,) index into `REASONS`.
    """

    def __init__(self, model: Predictor, full_names: bool = False) -> None:
        self.computed = 0
        self._model, self._full_names = model, full_names
        self._most = min(REMEMBERED, CELLS // len(model.countries))
        self._forget()

    def _forget(self) -> None:
        self._places: dict[bytes | None, int] = {}
        self.probabilities = np.empty((0, len(self._model.countries)), dtype=np.float32)
        self.reasons = np.empty(0, dtype=np.uint8)
        self._sets: list[str] = []

    def __call__(self, column: pa.Array) -> NDArray[np.intp]:
        """The place of each row's answer; valid until the next call."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        encoded = column.cast(pa.binary()).dictionary_encode(null_encoding="encode")
        names: list[bytes | None] = encoded.dictionary.to_pylist()
        if len(self._places) > self._most:  # start again: frequent names soon return
            self._forget()
        missing = [name for name in names if name not in self._places]
        self._compute(missing)
        places = np.array([self._places[name] for name in names], dtype=np.intp)
        return np.asarray(places[encoded.indices.to_numpy()])

    def _compute(self, names: list[bytes | None]) -> None:
        self.computed += len(names) - (None in names)
        # An empty name is unusable, as a null is.
        texts = [(name or b"").decode("utf-8", "surrogateescape") for name in names]
        answers = self._model.ask(texts, self._full_names)
        start = len(self._places)
        self._places.update(zip(names, range(start, start + len(names)), strict=True))
        self.probabilities = np.concatenate([self.probabilities, answers.probabilities])
        self.reasons = np.concatenate([self.reasons, answers.reasons])
        self._sets += map(SEPARATOR.join, self._model.sets(answers.probabilities))

    def columns(
        self,
        places: NDArray[np.intp],
        top: int,
        abstain: float,
        prefix: str,
        shares: NDArray[np.floating[Any]] | None = None,
    ) -> dict[str, Any]:
        """The answers at ``places`` as named Arrow arrays; null where the name is unusable.

        Args:
            places: as a call returned them.
            top: countries to list.
            abstain: the country is `UNSURE` if its probability is lower.
            prefix: of the names.
            shares: of the countries in the population, to reweight the probabilities.
        """
        model = self._model
        table = self.probabilities[places]
        if shares is not None and model.held_out:
            table = reweight(table, model.held_out.prior, shares)
        unusable = np.isnan(table[:, 0])
        order = np.argsort(-table, axis=1, kind="stable")[:, :top]
        ranked = np.take_along_axis(table, order, axis=1).astype(np.float32).round(DECIMALS)
        why = np.where(ranked[:, 0] < abstain, AMBIGUOUS, NO_REASON)
        why = np.where(self.reasons[places] > 0, self.reasons[places], why)
        names = pa.array([*model.countries, UNSURE])

        def countries(index: NDArray[np.integer[Any]]) -> Any:
            return names.take(pa.array(index, mask=unusable))

        sets = pa.array(self._sets, pa.string()).take(pa.array(places, mask=unusable))
        found = {
            "country": countries(np.where(why > 0, len(model.countries), order[:, 0])),
            "probability": pa.array(ranked[:, 0], mask=unusable),
            "reason": pa.array(REASONS, pa.string()).take(pa.array(why, mask=unusable)),
            "set": sets,
        }
        for n in range(order.shape[1]):
            found[f"country_{n + 1}"] = countries(order[:, n])
            found[f"probability_{n + 1}"] = pa.array(ranked[:, n], mask=unusable)
        return {prefix + name: values for name, values in found.items()}
