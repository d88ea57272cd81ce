"""`onoma predict --input`: a table with a column of names -> the same table with countries."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.commands.tables import Source, create, kind
from stages.core.errors import Interrupted, UserError, brief
from stages.core.interrupt import StopRequest
from stages.core.progress import Progress
from stages.serving.predictor import UNSURE, Predictor

REMEMBERED = 2**18  # names whose answers are kept
DECIMALS = 4  # of a probability

Answers = NDArray[np.void]


def predict_file(args: argparse.Namespace, model: Predictor) -> None:
    """Write ``args.output``."""
    target: Path = args.output
    kind(target)
    source = Source(args.input)
    if target.exists() and target.samefile(source.path):
        raise UserError(f"{target}: is also the input; choose another --output")
    source.check_text(args.column)
    answer = Answerer(model, args.top)
    added = answer.columns(answer(pa.array([], pa.string())), args.abstain, args.prefix)
    for name in added:
        if name in source.schema.names:
            raise UserError(
                f"{source.path}: already has a column {brief(name, 60)!r}; "
                "give a --prefix for the new columns"
            )
    schema = source.schema
    for name, values in added.items():
        schema = schema.append(pa.field(name, values.type))

    rows = unusable = 0
    with (
        create(target, schema) as write,
        Progress("predict", total=source.rows, unit="rows") as progress,
        StopRequest() as stop,
    ):
        for batch in source.batches():
            answers = answer(batch.column(args.column))
            rows += len(answers)
            unusable += int(np.isnan(answers["probability"][:, 0]).sum())
            added = answer.columns(answers, args.abstain, args.prefix)
            columns = [
                column.cast(field.type)
                for column, field in zip([*batch.columns, *added.values()], schema, strict=True)
            ]
            write(pa.record_batch(columns, schema=schema))
            progress.advance(len(batch))
            if stop.reason:
                raise Interrupted(f"stopped by {stop.reason}; {target} is unchanged")
    skipped = f", {source.skipped:,} rows left out (too few or many fields)"
    print(
        f"predict: {rows:,} rows, {answer.computed:,} names computed, {unusable:,} rows with an "
        f"unusable name and no answer{skipped if source.skipped else ''}; wrote {target}"
    )


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
