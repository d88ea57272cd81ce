"""From names as people write them to answers, whatever computes the logits."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.corpus.full_names import is_surname, surname
from stages.corpus.normalize import Rejected, normalise
from stages.corpus.vocabulary import Vocabulary
from stages.serving.held_out import HeldOut, Letters, NgramSet, prediction_sets

if TYPE_CHECKING:
    import pandas as pd


BATCH_CODES = 2**12  # of a batch: large enough for the products, small enough for the caches
UNSURE: Final = "unsure"  # the country of an answer that has a reason
REASONS: Final = (None, "script", "unfamiliar", "ambiguous", "not a surname")
NO_REASON, SCRIPT, UNFAMILIAR, AMBIGUOUS, NOT_A_SURNAME = range(len(REASONS))

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""(batch, length) codes of names of one length, with BOS and EOS -> (batch, countries)."""


class Prediction(NamedTuple):
    """The answer for one name.

    Attributes:
        name: as given.
        country: the most probable one, or `UNSURE`.
        probability: of the most probable country, 0 to 1.
        reason: why the answer is `UNSURE`: ``script`` (no letter of a script met in training),
            ``unfamiliar`` (unlike the names of the training corpus), ``ambiguous`` (no country
            reaches the threshold) or ``not a surname``; None if it is not.
        set: the countries that contain the true one with 90 % probability, the most probable
            first; empty if the model was trained without held-out rows.
        top: the most probable countries and their probabilities, best first.
    """

    name: str
    country: str
    probability: float
    reason: str | None
    set: list[str]
    top: list[tuple[str, float]]


class Answers(NamedTuple):
    """Answers to many names as arrays.

    Attributes:
        probabilities: (names, countries), NaN for an unusable name.
        reasons: (names,) index into `REASONS`, never `AMBIGUOUS`: that depends on a threshold.
        rejected: row and reason of each unusable name.
    """

    probabilities: NDArray[np.float32]
    reasons: NDArray[np.uint8]
    rejected: dict[int, Rejected]


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
    """Countries of names, by a model behind ``logits``; `stages.serving.bundle.load` makes one.

    Attributes:
        countries: in the order of the columns.
        population: what the training names are a sample of, in words.
        held_out: what the bundle keeps of held-out rows, if there were any.
    """

    def __init__(
        self,
        logits: Logits,
        config: Mapping[str, Any],
        threads: int = 1,
        files: Sequence[Path] = (),
    ) -> None:
        """Make a predictor.

        Args:
            logits: computes a batch.
            config: of the bundle: ``vocabulary``, ``countries``, ``normalize``, ``max_length`` and
                ``temperature``; ``held_out`` and ``population`` may be missing.
            threads: batches computed at a time.
            files: that `model_hash` is of.
        """
        self._logits, self._threads = logits, threads
        self._normalize, self._max_length = config["normalize"], config["max_length"]
        self._temperature = config["temperature"]
        self._vocabulary = Vocabulary.from_config(config["vocabulary"])
        self.countries = tuple(config["countries"])
        self.population: str = config.get("population") or ""
        self._files = files
        self._weights = files[-1] if files else "the model"
        packed = config.get("held_out")
        self.held_out = HeldOut.from_config(packed, len(self.countries)) if packed else None
        self._letters = Letters(self._vocabulary)
        self._ngrams = NgramSet(self._letters, self.held_out.ngrams if self.held_out else None)

    @cached_property
    def model_hash(self) -> str:
        """Hash of the bundle: 12 hexadecimal digits of SHA-256."""
        digest = hashlib.sha256()
        for path in self._files:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def normalise(self, name: str) -> str:
        """Normalise a name as the training names were.

        Raises:
            Rejected: the name is unusable; the message says why.
        """
        return normalise(name, self._normalize, self._max_length)

    def ask(self, names: Sequence[str], full_names: bool = False) -> Answers:
        """Answers as arrays; each distinct name is computed once.

        Args:
            names: in any script.
            full_names: find the surname in each name first, see `stages.corpus.full_names`.
        """
        usable: dict[int, str] = {}
        rejected: dict[int, Rejected] = {}
        for row, name in enumerate(names):
            try:
                usable[row] = self.normalise(surname(name) if full_names else name)
            except Rejected as reason:
                rejected[row] = reason
        probabilities = np.full((len(names), len(self.countries)), np.nan, dtype=np.float32)
        reasons = np.zeros(len(names), dtype=np.uint8)
        if usable:
            place = {name: n for n, name in enumerate(dict.fromkeys(usable.values()))}
            rows, found = list(usable), [place[name] for name in usable.values()]
            distinct, why = self._compute(list(place))
            probabilities[rows], reasons[rows] = distinct[found], why[found]
        return Answers(probabilities, reasons, rejected)

    def sets(self, probabilities: NDArray[np.float32]) -> list[list[str]]:
        """The prediction set of each name, the most probable country first.

        Empty for an unusable name, and for all without held-out rows. Probabilities have to be
        those of `ask`: reweighted ones have other thresholds.
        """
        found: list[list[str]] = [[] for _ in probabilities]
        if self.held_out is None:
            return found
        rows, places = np.nonzero(prediction_sets(probabilities, self.held_out.thresholds))
        order = np.lexsort((-probabilities[rows, places], rows))
        for row, place in zip(rows[order].tolist(), places[order].tolist(), strict=True):
            found[row].append(self.countries[place])
        return found

    def probabilities(
        self, names: Sequence[str], unusable: Literal["raise", "nan"] = "raise"
    ) -> NDArray[np.float32]:
        """Calibrated probabilities, (names, countries); each row sums to 1.

        Args:
            names: in any script.
            unusable: for a name that is empty, too long or has control characters, raise
                `Rejected` or return a row of NaN.
        """
        answers = self.ask(names)
        if unusable == "raise":
            _raise_first(answers.rejected)
        return answers.probabilities

    def answers(
        self, names: Sequence[str], top: int = 3, abstain: float = 0.0, full_names: bool = False
    ) -> list[Prediction | Rejected]:
        """`predict`, with the reason in place of the answer where a name is unusable."""
        asked = self.ask(names, full_names)
        order = np.argsort(-asked.probabilities, axis=1, kind="stable")
        sets = self.sets(asked.probabilities)
        found: list[Prediction | Rejected] = []
        for row, name in enumerate(names):
            if row in asked.rejected:
                found.append(asked.rejected[row])
                continue
            shares = asked.probabilities[row].tolist()
            best = [(self.countries[n], shares[n]) for n in order[row][: max(top, 1)]]
            country, probability = best[0]
            why = int(asked.reasons[row]) or (AMBIGUOUS if probability < abstain else NO_REASON)
            answer = UNSURE if why else country
            found.append(Prediction(name, answer, probability, REASONS[why], sets[row], best[:top]))
        return found

    def predict(
        self, names: Sequence[str], top: int = 3, abstain: float = 0.0, full_names: bool = False
    ) -> list[Prediction]:
        """The most probable country of each name.

        Args:
            names: in any script.
            top: how many of the most probable countries to list.
            abstain: answer `UNSURE` if the highest probability is below this.
            full_names: find the surname in each name first, see `stages.corpus.full_names`.

        Raises:
            Rejected: a name is empty, too long or has control characters.
        """
        answers = self.answers(names, top, abstain, full_names)
        _raise_first({n: a for n, a in enumerate(answers) if isinstance(a, Rejected)})
        return [answer for answer in answers if isinstance(answer, Prediction)]

    def frame(self, names: Sequence[str], top: int = 3, abstain: float = 0.0) -> "pd.DataFrame":
        """`predict` as a table; ``top`` becomes country_1, probability_1 and so on."""
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
        (whole, *parts), _ = self._compute([name, *filter(None, shorter)])
        best = int(whole.argmax())
        if len(name) == 1:  # nothing is left of it: every country is equally probable
            parts = [np.full_like(whole, 1 / len(whole))]
        effects = np.array([whole[best] - part[best] for part in parts], dtype=np.float32)
        return Occlusion(name, self.countries[best], effects)

    def _compute(self, names: list[str]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Probabilities and reasons of normalised names."""
        codes, offsets = self._vocabulary.encode(names)
        lengths = np.diff(offsets)
        logits = np.empty((len(names), len(self.countries)), dtype=np.float32)
        batches: list[NDArray[np.intp]] = []
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            size = max(1, BATCH_CODES // int(length))
            batches += [rows[n : n + size] for n in range(0, len(rows), size)]

        def compute(rows: NDArray[np.intp]) -> None:
            positions = offsets[rows][:, None] + np.arange(lengths[rows[0]])
            logits[rows] = self._logits(codes[positions].astype(np.int64))

        if self._threads > 1 and len(batches) > 1:
            from concurrent.futures import ThreadPoolExecutor  # too slow to import for a few names

            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(compute, batches))
        else:
            for rows in batches:
                compute(rows)

        with np.errstate(over="ignore"):
            scaled = logits / self._temperature
        if not np.isfinite(scaled).all():
            raise UserError(f"{self._weights}: its answers are no numbers; the weights are damaged")
        reasons = np.zeros(len(names), dtype=np.uint8)
        scripts = self._letters.scripts(codes, offsets)
        if self.held_out:
            highest = logits.max(axis=1)
            energy = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
            measures = np.stack([self._ngrams.known(codes, offsets), energy], axis=1)
            reasons[self.held_out.familiarity.unfamiliar(scripts, measures)] = UNFAMILIAR
        reasons[scripts < 0] = SCRIPT
        reasons[[not is_surname(name) for name in names]] = NOT_A_SURNAME
        return softmax(scaled), reasons


def _raise_first(rejected: Mapping[int, Rejected]) -> None:
    for row, reason in rejected.items():
        raise Rejected(f"name {row + 1}: {reason}")


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Probabilities of logits along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
