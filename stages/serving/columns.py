"""Answers for columns of names, as named columns: what bulk prediction and shares compute."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.core.text import SET_SEPARATOR
from stages.serving.held_out import Floats
from stages.serving.prediction import Answers
from stages.serving.predictor import Predictor

REMEMBERED, CELLS = 2**18, 2**23  # most names whose answers are kept, and most probabilities
DECIMALS = 4  # of a probability
GIVEN = "\x1f"  # between a surname and its given name; no usable name has one


class Answerer:
    """Answers of a model for columns of names; a repeated name is computed once.

    Attributes:
        computed: number of names computed so far.
    """

    def __init__(self, model: Predictor, full_names: bool = False) -> None:
        self.computed = 0
        self._model, self._full_names = model, full_names
        self._capacity = min(REMEMBERED, CELLS // len(model.countries))
        self._forget()

    def _forget(self) -> None:
        self._positions: dict[bytes | None, int] = {}
        self._remembered = self._model.ask([])

    def __call__(
        self, column: pa.Array, given: pa.Array | None = None
    ) -> tuple[Answers, NDArray[np.integer[Any]]]:
        """Answers to the distinct names, and for each row the position of its own.

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
        if len(self._positions) > self._capacity:  # start again: frequent names soon return
            self._forget()
        if unknown := [name for name in distinct if name not in self._positions]:
            self._compute(unknown, given is not None)
        positions = np.array([self._positions[name] for name in distinct], dtype=np.intp)
        return self._remembered.take(positions), encoded.indices.to_numpy()

    def _compute(self, names: list[bytes | None], has_given: bool) -> None:
        self.computed += len(names) - (None in names)
        texts = [
            None if name is None else name.decode("utf-8", "surrogateescape") for name in names
        ]
        given = None
        if has_given:
            given = [text and text.partition(GIVEN)[2] for text in texts]
            texts = [text and text.partition(GIVEN)[0] for text in texts]
        start = len(self._positions)
        self._positions.update(zip(names, range(start, start + len(names)), strict=True))
        answers = self._model.ask(texts, self._full_names, given)
        self._remembered = self._remembered.put(start, answers, self._capacity)

    def columns(
        self, answers: Answers, top: int, abstain: float, prefix: str, shares: Floats | None = None
    ) -> dict[str, pa.Array]:
        """`Answers.columns` as named Arrow arrays, without those that this model has nothing for.

        Args:
            answers: result of a call.
            top: number of countries to list.
            abstain: probability below which the country is `UNSURE`.
            prefix: beginning of the columns' names.
            shares: shares of the countries in the population, to reweight the probabilities.
        """
        columns, full = answers.columns(top, abstain, shares), self._model.config.reads_full_names
        is_present = {"name": False, "kind": full, "read_as": full or self._full_names}
        is_present |= dict.fromkeys(("group", "group_probability"), bool(self._model.groups))
        sets = zip(columns["country"], columns["set"], strict=True)
        columns["set"] = [country and SET_SEPARATOR.join(countries) for country, countries in sets]
        return {
            prefix + name: _as_array(values, "probability" in name)
            for name, values in columns.items()
            if is_present.get(name, True)
        }


def _as_array(values: list[Any], are_numbers: bool) -> pa.Array:
    if are_numbers:
        return pa.array(np.array(values, dtype=np.float32).round(DECIMALS), from_pandas=True)
    return pa.array(values, pa.string())


def _as_binary(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.binary())
