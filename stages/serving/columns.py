"""Answers for columns of names, as named columns: what bulk prediction and shares compute."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.serving.held_out import reweight
from stages.serving.prediction import AMBIGUOUS, KINDS, NO_REASON, REASONS, UNSURE
from stages.serving.predictor import Predictor

REMEMBERED, CELLS = 2**18, 2**23  # names whose answers are kept, and their probabilities, at most
DECIMALS = 4  # of a probability
SEPARATOR = "|"  # of the countries of a set
GIVEN = "\x1f"  # between a surname and its given name; no usable name has one


class Answerer:
    """Answers of a model for columns of names; a repeated name is computed once.

    Attributes:
        computed: number of names computed so far.
        probabilities: (positions, countries) of the names that are remembered; NaN if unusable.
        reasons: (positions,) index into `REASONS`.
        kinds: (positions,) the kind of each name.
    """

    def __init__(self, model: Predictor, full_names: bool = False) -> None:
        self.computed = 0
        self._model, self._full_names = model, full_names
        self._most = min(REMEMBERED, CELLS // len(model.countries))
        self._forget()

    def _forget(self) -> None:
        self._positions: dict[bytes | None, int] = {}
        self.probabilities = np.empty((0, len(self._model.countries)), dtype=np.float32)
        self.reasons, self.kinds = np.empty((2, 0), dtype=np.uint8)
        self._sets: list[str] = []
        self._rejected: dict[int, str] = {}
        self._read_as: dict[int, str] = {}

    def __call__(self, column: pa.Array, given: pa.Array | None = None) -> NDArray[np.intp]:
        """The position of each row's answer; valid until the next call.

        Args:
            column: the names, or the surnames.
            given: the given names, if they are in a column of their own.
        """
        names = _as_binary(column)
        if given is not None:
            names = pc.binary_join_element_wise(
                names, _as_binary(given).fill_null(b""), GIVEN.encode()
            )
        encoded = names.dictionary_encode(null_encoding="encode")
        distinct: list[bytes | None] = encoded.dictionary.to_pylist()
        if len(self._positions) > self._most:  # start again: frequent names soon return
            self._forget()
        new_names = [name for name in distinct if name not in self._positions]
        self._compute(new_names, given is not None)
        positions = np.array([self._positions[name] for name in distinct], dtype=np.intp)
        return np.asarray(positions[encoded.indices.to_numpy()])

    def _compute(self, names: list[bytes | None], in_two: bool) -> None:
        self.computed += len(names) - (None in names)
        texts = [
            None if name is None else name.decode("utf-8", "surrogateescape") for name in names
        ]
        given = None
        if in_two:
            given = [text and text.partition(GIVEN)[2] for text in texts]
            texts = [text and text.partition(GIVEN)[0] for text in texts]
        answers = self._model.ask(texts, self._full_names, given)
        start = len(self._positions)
        self._positions.update(zip(names, range(start, start + len(names)), strict=True))
        self.probabilities = np.concatenate([self.probabilities, answers.probabilities])
        self.reasons = np.concatenate([self.reasons, answers.reasons])
        self.kinds = np.concatenate([self.kinds, answers.kinds])
        self._sets += map(SEPARATOR.join, self._model.sets(answers))
        self._rejected |= {start + row: reason for row, reason in answers.rejected.items()}
        self._read_as |= {start + row: text for row, text in answers.read_as.items()}

    def columns(
        self,
        positions: NDArray[np.intp],
        top: int,
        abstain: float,
        prefix: str,
        shares: NDArray[np.floating[Any]] | None = None,
    ) -> dict[str, Any]:
        """The answers at ``positions`` as named Arrow arrays; an unusable name has only its reason.

        Args:
            positions: result of a call.
            top: number of countries to list.
            abstain: probability below which the country is `UNSURE`.
            prefix: beginning of the columns' names.
            shares: shares of the countries in the population, to reweight the probabilities.
        """
        model, rows = self._model, positions.tolist()
        table, reasons = self.probabilities[positions], self.reasons[positions]
        if shares is not None and model.held_out:
            table = reweight(table, model.held_out.prior[self.kinds[positions]], shares)
        unusable = np.isnan(table[:, 0])
        order = np.argsort(-table, axis=1, kind="stable")[:, :top]
        ranked = np.take_along_axis(table, order, axis=1).astype(np.float32).round(DECIMALS)
        why = np.where(ranked[:, 0] < abstain, AMBIGUOUS, NO_REASON)
        why = np.where(reasons > 0, reasons, why)
        names = pa.array([*model.countries, UNSURE])

        def countries(index: NDArray[np.integer[Any]]) -> Any:
            return names.take(pa.array(index, mask=unusable))

        rejected = pa.array([self._rejected.get(row) for row in rows], pa.string())
        columns = {
            "country": countries(np.where(why > 0, len(model.countries), order[:, 0])),
            "probability": pa.array(ranked[:, 0], mask=unusable),
            "reason": pc.coalesce(rejected, pa.array(REASONS, pa.string()).take(pa.array(why))),
            "set": pa.array([self._sets[row] for row in rows], pa.string(), mask=unusable),
        }
        if model.groups:
            groups, sums = model.regions(table, reasons)
            labels = pa.array(model.groups, pa.string())
            columns["group"] = labels.take(pa.array(groups, mask=groups < 0))
            sums = sums.astype(np.float32).round(DECIMALS)
            columns["group_probability"] = pa.array(sums, mask=groups < 0)
        if model.reads_full_names:
            kinds = pa.array(KINDS[model.reads])
            columns["kind"] = kinds.take(pa.array(self.kinds[positions], mask=unusable))
        if model.reads_full_names or self._full_names:
            read_as = [self._read_as.get(row) for row in rows]
            columns["read_as"] = pa.array(read_as, pa.string())
        for n in range(order.shape[1]):
            columns[f"country_{n + 1}"] = countries(order[:, n])
            columns[f"probability_{n + 1}"] = pa.array(ranked[:, n], mask=unusable)
        return {prefix + name: values for name, values in columns.items()}


def _as_binary(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.binary())
