"""`onoma predict --input`: a table with a column of names -> the same table and its countries."""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.commands.tables import Source, create, kind
from stages.core.errors import Interrupted, UserError, brief
from stages.core.interrupt import StopRequest
from stages.core.progress import Progress
from stages.serving.predictor import UNSURE, Predictor

REMEMBERED = 2**17  # names whose answers are kept at least; twice as many at most
DECIMALS = 4  # of a probability

Answers = NDArray[np.void]


def predict_file(args: argparse.Namespace, model: Predictor) -> int:
    """Write ``args.output``; return the exit status."""
    target: Path = args.output
    kind(target)
    source = Source(args.input)
    if target.exists() and target.samefile(source.path):
        raise UserError(f"{target}: is the input itself; name another --output")
    check_column(source, args.column)
    answer = Answerer(model, args.top)
    schema = extended(source, args.prefix, answer.top)
    rows = unusable = 0
    with (
        create(target, schema) as write,
        Progress("predict", total=source.rows, unit="rows") as progress,
        StopRequest() as stop,
    ):
        for batch in source.batches():
            found = answer(batch.column(args.column))
            rows += len(found)
            unusable += int(np.isnan(found["probability"][:, 0]).sum())
            columns = [*batch.columns, *answer_columns(found, model.countries, args.abstain)]
            write(
                pa.record_batch(
                    [c.cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
                )
            )
            progress.advance(len(batch))
            if stop.reason:
                raise Interrupted(f"stopped by {stop.reason}; {target} is what it was before")
    skipped = f", {source.skipped:,} rows left out (too few or many fields)"
    print(
        f"predict: {rows:,} rows, {answer.computed:,} names computed, {unusable:,} rows with an "
        f"unusable name and no answer{skipped if source.skipped else ''}; wrote {target}"
    )
    return 0


def check_column(source: Source, column: str) -> None:
    """Raise a `UserError` unless there is exactly one such column, of text."""
    names = source.schema.names
    if names.count(column) != 1:
        what = "two columns" if column in names else "no column"
        there = brief(", ".join(names), 300)
        raise UserError(
            f"{source.path}: has {what} {brief(column, 60)!r}; use --column, one of: {there}"
        )
    found = source.schema.field(column).type
    if pa.types.is_dictionary(found):
        found = found.value_type
    if found not in TEXT_TYPES:
        raise UserError(
            f"{source.path}: column {brief(column, 60)!r} holds {brief(found, 60)}, not text"
        )


TEXT_TYPES = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.null())


def extended(source: Source, prefix: str, top: int) -> pa.Schema:
    """The input's columns and ours: country, probability, country_1, probability_1 and so on."""
    schema = source.schema
    ranks = ["", *(f"_{n + 1}" for n in range(top))]
    for rank in ranks:
        for name, type_ in (("country", pa.string()), ("probability", pa.float32())):
            name = f"{prefix}{name}{rank}"
            if name in schema.names:
                raise UserError(
                    f"{source.path}: has a column {brief(name, 60)!r} already; give ours a --prefix"
                )
            schema = schema.append(pa.field(name, type_))
    return schema


def answer_columns(answers: Answers, countries: tuple[str, ...], abstain: float) -> list[pa.Array]:
    """Our columns in the order of `extended`; null where the name is unusable."""
    texts = pa.array([*countries, UNSURE])
    places, probabilities = answers["place"].astype(np.int32), answers["probability"]
    unusable = np.isnan(probabilities[:, 0])
    best = np.where(probabilities[:, 0] < abstain, len(countries), places[:, 0])
    columns: list[pa.Array] = []
    for place, probability in [
        (best, probabilities[:, 0]),
        *zip(places.T, probabilities.T, strict=True),
    ]:
        columns.append(texts.take(pa.array(place, mask=unusable)))
        columns.append(pa.array(probability, mask=unusable))
    return columns


class Answerer:
    """Answers of a model for columns of names, each distinct name computed once.

    Attributes:
        top: how many of the likeliest countries an answer has.
        computed: names that the model was asked.
    """

    def __init__(self, model: Predictor, top: int) -> None:
        self.top = min(top, len(model.countries))
        self.computed = 0
        self._model = model
        self._record = np.dtype([("place", "<u2", self.top), ("probability", "<f4", self.top)])
        self._recent = Recent(REMEMBERED)
        self._workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        self._pool = ThreadPoolExecutor(self._workers)

    def __call__(self, column: pa.Array) -> Answers:
        """One answer per row; its probabilities are NaN if the name is unusable or null."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        encoded = column.cast(pa.binary()).dictionary_encode()
        names: list[bytes] = encoded.dictionary.to_pylist()
        found = [self._recent.get(name) for name in names]
        missing = [row for row, answer in enumerate(found) if answer is None]
        computed = self._compute([names[row] for row in missing])
        for row, answer in zip(missing, computed, strict=True):
            found[row] = record = answer.tobytes()
            self._recent.put(names[row], record)
        nothing = np.array((0, np.nan), self._record).tobytes()
        table = np.frombuffer(b"".join(filter(None, [*found, nothing])), self._record)
        rows: NDArray[np.int32] = encoded.indices.fill_null(len(names)).to_numpy()
        return table[rows]

    def _compute(self, names: list[bytes]) -> Answers:
        self.computed += len(names)
        texts = [name.decode("utf-8", "surrogateescape") for name in names]
        answers = np.empty(len(names), self._record)
        # Names of all lengths for every worker; the products are made outside Python's lock.
        parts = [slice(n, None, self._workers) for n in range(self._workers)]
        ranked = self._pool.map(
            lambda part: self._model.ranked(texts[part], self.top, "nan"), parts
        )
        for part, (places, probabilities) in zip(parts, ranked, strict=True):
            answers["place"][part] = places
            answers["probability"][part] = probabilities.round(DECIMALS)
        return answers


class Recent:
    """The latest values by key: at least ``capacity`` of them, at most twice as many.

    Two dictionaries, of which the older is dropped once the newer is full: what is asked for
    again moves to the newer one.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._new: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, key: bytes) -> bytes | None:
        """The value, or None if it is forgotten."""
        found = self._new.get(key)
        if found is None and (found := self._old.pop(key, None)) is not None:
            self.put(key, found)
        return found

    def put(self, key: bytes, value: bytes) -> None:
        """Remember a value."""
        if len(self._new) >= self._capacity:
            self._new, self._old = {}, self._new
        self._new[key] = value
