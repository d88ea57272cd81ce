"""From names as people write them to calibrated probabilities; the engine below is a function."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from stages.core.alphabet import Vocabulary
from stages.core.names import Form, Rejected, normalise

BATCH = 1024

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""(batch, length) codes of names of one length, marks included -> (batch, countries)."""


class Spelling(TypedDict):
    """How names are brought to one spelling before they are encoded."""

    normalize: Form
    max_length: int


class Predictor:
    """Countries of names, by a model behind ``logits``."""

    def __init__(
        self,
        logits: Logits,
        vocabulary: Vocabulary,
        countries: Sequence[str],
        spelling: Spelling,
        temperature: float,
    ) -> None:
        self._logits = logits
        self._vocabulary = vocabulary
        self.countries = tuple(countries)
        self._spelling = spelling
        self._temperature = temperature

    def normalise(self, name: str) -> str:
        """Spell a name as the model knows names.

        Raises:
            Rejected: this is no usable name; the message says why.
        """
        return normalise(name, self._spelling["normalize"], self._spelling["max_length"])

    def probabilities(
        self, names: Sequence[str], unusable: Literal["raise", "nan"] = "raise"
    ) -> NDArray[np.float32]:
        """Calibrated probabilities: (names, countries), each row summing to 1.

        Args:
            names: in any script; they are normalised here.
            unusable: what to do with an empty, over-long or otherwise unusable name: raise
                `Rejected`, or give it a row of NaN.
        """
        table = np.full((len(names), len(self.countries)), np.nan, dtype=np.float32)
        spelled, rows = [], []
        for row, name in enumerate(names):
            try:
                spelled.append(self.normalise(name))
                rows.append(row)
            except Rejected:
                if unusable == "raise":
                    raise
        if spelled:
            table[rows] = softmax(self._raw(spelled) / self._temperature)
        return table

    def _raw(self, names: list[str]) -> NDArray[np.float32]:
        codes, offsets = self._vocabulary.encode(names)
        lengths = np.diff(offsets)
        table = np.empty((len(names), len(self.countries)), dtype=np.float32)
        order = np.argsort(lengths, kind="stable")
        cuts = np.flatnonzero(np.diff(lengths[order])) + 1
        for same_length in np.split(order, cuts):
            for start in range(0, len(same_length), BATCH):
                rows = same_length[start : start + BATCH]
                places = offsets[rows][:, None] + np.arange(lengths[rows[0]])
                table[rows] = self._logits(codes[places].astype(np.int64))
        return table

    def predict(self, names: Sequence[str], top: int = 3) -> list[list[tuple[str, float]]]:
        """The ``top`` likeliest countries of each name with their probabilities, best first."""
        return [
            [(self.countries[place], float(row[place])) for place in np.argsort(-row)[:top]]
            for row in self.probabilities(names)
        ]


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Probabilities of logits along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
