"""From names as people write them to calibrated probabilities; the engine below is a function."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from stages.corpus.normalize import Form, Rejected, normalise
from stages.corpus.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

BATCH_CODES = 2**12  # codes at once: enough for the products, small enough for the caches
UNSURE: Final = "unsure"  # the answer where no country is likely enough

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""(batch, length) codes of names of one length, marks included -> (batch, countries)."""


class Spelling(TypedDict):
    """How names are brought to one spelling before they are encoded."""

    normalize: Form
    max_length: int


class Prediction(NamedTuple):
    """The answer for one name.

    Attributes:
        name: as it was given.
        country: the likeliest one, or `UNSURE`.
        probability: of the likeliest country, 0 to 1.
        top: the likeliest countries and their probabilities, best first.
    """

    name: str
    country: str
    probability: float
    top: list[tuple[str, float]]


class Occlusion(NamedTuple):
    """What each character of a name does for its likeliest country.

    Attributes:
        name: as the model spells it.
        country: the likeliest one.
        effects: (characters,) how far the country's probability falls when the character is
            left out; negative where it rises.
    """

    name: str
    country: str
    effects: NDArray[np.float32]


class Predictor:
    """Countries of names, by a model behind ``logits``.

    Get one from `stages.serving.onnx_bundle.load` or, by torch, `stages.serving.bundle.load`.
    """

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
            except Rejected as reason:
                if unusable == "raise":
                    raise Rejected(f"name {row + 1}: {reason}") from None
        if spelled:
            table[rows] = self._spelled(spelled)
        return table

    def ranked(
        self, names: Sequence[str], top: int, unusable: Literal["raise", "nan"] = "raise"
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The likeliest countries of each name, best first.

        Returns:
            places: (names, top) in `countries`; no more columns than there are countries.
            probabilities: (names, top) theirs; NaN for an unusable name.
        """
        table = self.probabilities(names, unusable)
        places = np.argsort(-table, axis=1, kind="stable")[:, :top]
        return places, np.take_along_axis(table, places, axis=1)

    def predict(self, names: Sequence[str], top: int = 3, abstain: float = 0.0) -> list[Prediction]:
        """Say which country each name comes from.

        Args:
            names: in any script.
            top: how many of the likeliest countries to list.
            abstain: answer `UNSURE` where the best probability is below this.

        Raises:
            Rejected: a name is empty, too long or otherwise unusable.
        """
        places, probabilities = self.ranked(names, max(top, 1))
        answers = []
        for name, countries, row in zip(
            names, places.tolist(), probabilities.tolist(), strict=True
        ):
            best = [(self.countries[n], p) for n, p in zip(countries, row, strict=True)]
            country, probability = best[0]
            answer = country if probability >= abstain else UNSURE
            answers.append(Prediction(name, answer, probability, best[:top]))
        return answers

    def frame(self, names: Sequence[str], top: int = 3, abstain: float = 0.0) -> "pd.DataFrame":
        """`predict` as a table: name, country, probability, country_1, probability_1 and so on."""
        import pandas as pd  # slow to import, and nothing else here needs it

        places, probabilities = self.ranked(names, max(top, 1))
        countries = np.array(self.countries, dtype=object)[places]
        best = probabilities[:, 0]
        columns: dict[str, Any] = {"name": list(names)}
        columns["country"] = np.where(best >= abstain, countries[:, 0], UNSURE)
        columns["probability"] = best
        for n in range(min(top, countries.shape[1])):
            columns[f"country_{n + 1}"] = countries[:, n]
            columns[f"probability_{n + 1}"] = probabilities[:, n]
        return pd.DataFrame(columns)

    def occlusion(self, name: str) -> Occlusion:
        """Leave out each character in turn and see what becomes of the likeliest country.

        Raises:
            Rejected: this is no usable name.
        """
        name = self.normalise(name)
        shorter = [name[:n] + name[n + 1 :] for n in range(len(name))]
        whole, *parts = self._spelled([name, *filter(None, shorter)])
        best = int(whole.argmax())
        if len(name) == 1:  # of no name at all, every country is as likely
            parts = [np.full_like(whole, 1 / len(whole))]
        effects = np.array([whole[best] - part[best] for part in parts], dtype=np.float32)
        return Occlusion(name, self.countries[best], effects)

    def _spelled(self, names: list[str]) -> NDArray[np.float32]:
        """Probabilities of normalised names; each distinct one is computed once."""
        place = {name: n for n, name in enumerate(dict.fromkeys(names))}
        return self._distinct(list(place))[[place[name] for name in names]]

    def _distinct(self, names: list[str]) -> NDArray[np.float32]:
        codes, offsets = self._vocabulary.encode(names)
        lengths = np.diff(offsets)
        table = np.empty((len(names), len(self.countries)), dtype=np.float32)
        order = np.argsort(lengths, kind="stable")
        cuts = np.flatnonzero(np.diff(lengths[order])) + 1
        batches = []
        for same_length in np.split(order, cuts):
            batch = max(1, BATCH_CODES // int(lengths[same_length[0]]))
            batches += [same_length[n : n + batch] for n in range(0, len(same_length), batch)]

        def answer(rows: NDArray[np.intp]) -> None:
            places = offsets[rows][:, None] + np.arange(lengths[rows[0]])
            table[rows] = self._logits(codes[places].astype(np.int64))

        if self._threads > 1 and len(batches) > 1:
            from concurrent.futures import ThreadPoolExecutor  # not for a few names' sake

            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(answer, batches))
        else:
            for rows in batches:
                answer(rows)
        return np.asarray(softmax(table / self._temperature))


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Probabilities of logits along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
