"""Answers for columns of names, as named columns: what bulk prediction and shares compute."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.serving.held_out import reweight
from stages.serving.prediction import AMBIGUOUS, NO_REASON, REASONS, UNSURE
from stages.serving.predictor import Predictor

REMEMBERED, CELLS = 2**18, 2**23  # names whose answers are kept, and their probabilities, at most
DECIMALS = 4  # of a probability
SEPARATOR = "|"  # of the countries of a set


class Answerer:
    """Answers of a model for columns of names; a repeated name is computed once.

    Attributes:
        computed: number of names computed so far.
        probabilities: (positions, countries) of the names that are remembered; NaN if unusable.
        reasons: (positions,) index into `REASONS`.
    """

    def __init__(self, model: Predictor, full_names: bool = False) -> None:
        self.computed = 0
        self._model, self._full_names = model, full_names
        self._most = min(REMEMBERED, CELLS // len(model.countries))
        self._forget()

    def _forget(self) -> None:
        self._positions: dict[bytes | None, int] = {}
        self.probabilities = np.empty((0, len(self._model.countries)), dtype=np.float32)
        self.reasons = np.empty(0, dtype=np.uint8)
        self._sets: list[str] = []

    def __call__(self, column: pa.Array) -> NDArray[np.intp]:
        """The position of each row's answer; valid until the next call."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        encoded = column.cast(pa.binary()).dictionary_encode(null_encoding="encode")
        names: list[bytes | None] = encoded.dictionary.to_pylist()
        if len(self._positions) > self._most:  # start again: frequent names soon return
            self._forget()
        self._compute([name for name in names if name not in self._positions])
        positions = np.array([self._positions[name] for name in names], dtype=np.intp)
        return np.asarray(positions[encoded.indices.to_numpy()])

    def _compute(self, names: list[bytes | None]) -> None:
        self.computed += len(names) - (None in names)
        # An empty name is unusable, as a null is.
        texts = [(name or b"").decode("utf-8", "surrogateescape") for name in names]
        answers = self._model.ask(texts, self._full_names)
        start = len(self._positions)
        self._positions.update(zip(names, range(start, start + len(names)), strict=True))
        self.probabilities = np.concatenate([self.probabilities, answers.probabilities])
        self.reasons = np.concatenate([self.reasons, answers.reasons])
        self._sets += map(SEPARATOR.join, self._model.sets(answers))

    def columns(
        self,
        positions: NDArray[np.intp],
        top: int,
        abstain: float,
        prefix: str,
        shares: NDArray[np.floating[Any]] | None = None,
    ) -> dict[str, Any]:
        """The answers at ``positions`` as named Arrow arrays; null where the name is unusable.

        Args:
            positions: result of a call.
            top: number of countries to list.
            abstain: probability below which the country is `UNSURE`.
            prefix: beginning of the columns' names.
            shares: shares of the countries in the population, to reweight the probabilities.
        """
        model = self._model
        table = self.probabilities[positions]
        if shares is not None and model.held_out:
            table = reweight(table, model.held_out.prior, shares)
        unusable = np.isnan(table[:, 0])
        order = np.argsort(-table, axis=1, kind="stable")[:, :top]
        ranked = np.take_along_axis(table, order, axis=1).astype(np.float32).round(DECIMALS)
        why = np.where(ranked[:, 0] < abstain, AMBIGUOUS, NO_REASON)
        why = np.where(self.reasons[positions] > 0, self.reasons[positions], why)
        names = pa.array([*model.countries, UNSURE])

        def countries(index: NDArray[np.integer[Any]]) -> Any:
            return names.take(pa.array(index, mask=unusable))

        columns = {
            "country": countries(np.where(why > 0, len(model.countries), order[:, 0])),
            "probability": pa.array(ranked[:, 0], mask=unusable),
            "reason": pa.array(REASONS, pa.string()).take(pa.array(why, mask=unusable)),
            "set": pa.array(self._sets, pa.string()).take(pa.array(positions, mask=unusable)),
        }
        for n in range(order.shape[1]):
            columns[f"country_{n + 1}"] = countries(order[:, n])
            columns[f"probability_{n + 1}"] = pa.array(ranked[:, n], mask=unusable)
        return {prefix + name: values for name, values in columns.items()}
