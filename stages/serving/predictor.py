"""From names as people write them to calibrated probabilities, whatever computes the logits."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from stages.corpus.normalize import Form, Rejected, normalise
from stages.corpus.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

BATCH_CODES = 2**12  # of a batch: large enough for the products, small enough for the caches
UNSURE: Final = "unsure"  # the answer if no country is likely enough

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""(batch, length) codes of names of one length, with BOS and EOS -> (batch, countries)."""


class Spelling(TypedDict):
    """How names are normalised before they are encoded."""

    normalize: Form
    max_length: int


class Prediction(NamedTuple):
    """The answer for one name.

    Attributes:
        name: as given.
        country: the most probable one, or `UNSURE`.
        probability: of the most probable country, 0 to 1.
        top: the most probable countries and their probabilities, best first.
    """

    name: str
    country: str
    probability: float
    top: list[tuple[str, float]]


class Occlusion(NamedTuple):
    """How much each character of a name contributes to its most probable country.

    Attributes:
        name: as normalised.
        country: the most probable one.
        effects: (characters,) drop of the country's probability when the character is left out;
            negative if it rises.
    """

    name: str
    country: str
    effects: NDArray[np.float32]


class Predictor:
    """Countries of names, by a model behind ``logits``; `stages.serving.bundle.load` makes one."""

    def __init__(
        self,
        logits: Logits,
        vocabulary: Vocabulary,
        countries: Sequence[str],
        spelling: Spelling,
        temperature: float,
        threads: int = 1,
    ) -> None:
        self._logits = logits
        self._vocabulary = vocabulary
        self.countries = tuple(countries)
        self._spelling = spelling
        self._temperature = temperature
        self._threads = threads

    def normalise(self, name: str) -> str:
        """Normalise a name as the training names were.

        Raises:
            Rejected: the name is unusable; the message says why.
        """
        return normalise(name, self._spelling["normalize"], self._spelling["max_length"])

    def probabilities(
        self, names: Sequence[str], unusable: Literal["raise", "nan"] = "raise"
    ) -> NDArray[np.float32]:
        """Calibrated probabilities, (names, countries); each row sums to 1.

        Args:
            names: in any script.
            unusable: for a name that is empty, too long or has control characters, raise
                `Rejected` or return a row of NaN.
        """
        table, rejected = self._table(names)
        if rejected and unusable == "raise":
            row, reason = next(iter(rejected.items()))
            raise Rejected(f"name {row + 1}: {reason}")
        return table

    def ranked(
        self, names: Sequence[str], top: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float32], dict[int, Rejected]]:
        """The most probable countries of each name, best first.

        Returns:
            places: (names, top) indices into `countries`; at most as many as there are countries.
            probabilities: (names, top) of these countries; NaN for an unusable name.
            rejected: row and reason of each unusable name.
        """
        table, rejected = self._table(names)
        places = np.argsort(-table, axis=1, kind="stable")[:, : max(top, 1)]
        return places, np.take_along_axis(table, places, axis=1), rejected

    def answers(
        self, names: Sequence[str], top: int = 3, abstain: float = 0.0
    ) -> list[Prediction | Rejected]:
        """`predict`, with the reason in place of the answer where a name is unusable."""
        places, probabilities, rejected = self.ranked(names, top)
        found: list[Prediction | Rejected] = []
        for row, name in enumerate(names):
            if row in rejected:
                found.append(rejected[row])
                continue
            countries = [self.countries[place] for place in places[row]]
            best = list(zip(countries, probabilities[row].tolist(), strict=True))
            country, probability = best[0]
            answer = country if probability >= abstain else UNSURE
            found.append(Prediction(name, answer, probability, best[:top]))
        return found

    def predict(self, names: Sequence[str], top: int = 3, abstain: float = 0.0) -> list[Prediction]:
        """The most probable country of each name.

        Args:
            names: in any script.
            top: how many of the most probable countries to list.
            abstain: answer `UNSURE` if the highest probability is below this.

        Raises:
            Rejected: a name is empty, too long or has control characters.
        """
        predictions: list[Prediction] = []
        for row, answer in enumerate(self.answers(names, top, abstain)):
            if isinstance(answer, Rejected):
                raise Rejected(f"name {row + 1}: {answer}")
            predictions.append(answer)
        return predictions

    def frame(self, names: Sequence[str], top: int = 3, abstain: float = 0.0) -> "pd.DataFrame":
        """`predict` as a table: name, country, probability, country_1, probability_1 and so on."""
        import pandas as pd  # slow to import, and needed only here

        rows: list[dict[str, Any]] = []
        for answer in self.predict(names, top, abstain):
            row: dict[str, Any] = answer._asdict()
            for rank, (country, probability) in enumerate(row.pop("top"), start=1):
                row |= {f"country_{rank}": country, f"probability_{rank}": probability}
            rows.append(row)
        return pd.DataFrame(rows)

    def occlusion(self, name: str) -> Occlusion:
        """Leave out each character in turn and compare the most probable country's probability.

        Raises:
            Rejected: the name is unusable.
        """
        name = self.normalise(name)
        shorter = [name[:n] + name[n + 1 :] for n in range(len(name))]
        whole, *parts = self._normalised([name, *filter(None, shorter)])
        best = int(whole.argmax())
        if len(name) == 1:  # nothing is left of it: every country is equally probable
            parts = [np.full_like(whole, 1 / len(whole))]
        effects = np.array([whole[best] - part[best] for part in parts], dtype=np.float32)
        return Occlusion(name, self.countries[best], effects)

    def _table(self, names: Sequence[str]) -> tuple[NDArray[np.float32], dict[int, Rejected]]:
        """Probabilities, NaN in the rows of unusable names, and why these are unusable."""
        usable: dict[int, str] = {}
        rejected: dict[int, Rejected] = {}
        for row, name in enumerate(names):
            try:
                usable[row] = self.normalise(name)
            except Rejected as reason:
                rejected[row] = reason
        table = np.full((len(names), len(self.countries)), np.nan, dtype=np.float32)
        if usable:
            table[list(usable)] = self._normalised(list(usable.values()))
        return table, rejected

    def _normalised(self, names: list[str]) -> NDArray[np.float32]:
        """Probabilities of normalised names; each distinct one is computed once."""
        place = {name: n for n, name in enumerate(dict.fromkeys(names))}
        codes, offsets = self._vocabulary.encode(list(place))
        lengths = np.diff(offsets)
        table = np.empty((len(place), len(self.countries)), dtype=np.float32)
        batches: list[NDArray[np.intp]] = []
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            size = max(1, BATCH_CODES // int(length))
            batches += [rows[n : n + size] for n in range(0, len(rows), size)]

        def compute(rows: NDArray[np.intp]) -> None:
            positions = offsets[rows][:, None] + np.arange(lengths[rows[0]])
            table[rows] = self._logits(codes[positions].astype(np.int64))

        if self._threads > 1 and len(batches) > 1:
            from concurrent.futures import ThreadPoolExecutor  # too slow to import for a few names

            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(compute, batches))
        else:
            for rows in batches:
                compute(rows)
        return softmax(table / self._temperature)[[place[name] for name in names]]


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Probabilities of logits along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
