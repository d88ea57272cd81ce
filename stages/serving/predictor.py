"""From names as people write them to answers, whatever computes the logits."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.corpus.full_names import canonical, surname, unusable
from stages.corpus.normalize import Rejected, normalise
from stages.serving.config import Config
from stages.serving.held_out import Letters, NgramSet, prediction_sets
from stages.serving.prediction import (
    AMBIGUOUS,
    NO_REASON,
    NOT_A_SURNAME,
    REASONS,
    SCRIPT,
    UNFAMILIAR,
    UNSURE,
    Answers,
    Occlusion,
    Prediction,
)

if TYPE_CHECKING:
    import pandas as pd

BATCH_CODES = 2**12  # of a batch: large enough for the products, small enough for the caches

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""(batch, length) codes of names of one length, with BOS and EOS -> (batch, countries)."""


class Predictor:
    """Countries of names, by a model behind ``logits``; `stages.serving.bundle.load` makes one.

    Attributes:
        countries: the countries, in the order of the columns.
        population: what the training names are a sample of, in words.
        held_out: what the bundle keeps of held-out rows, if there were any.
    """

    def __init__(
        self, logits: Logits, config: Config, threads: int = 1, files: Sequence[Path] = ()
    ) -> None:
        """Make a predictor.

        Args:
            logits: the function that computes a batch.
            config: everything about the model but its weights.
            threads: batches computed at a time.
            files: the files of the bundle, for `model_hash`; the weights are the last.
        """
        self._logits, self._config, self._threads, self._files = logits, config, threads, files
        self.countries, self.population = config.countries, config.population
        self.held_out = config.held_out
        self._letters = Letters(config.vocabulary)
        self._ngrams = NgramSet(self._letters, self.held_out.ngrams if self.held_out else None)

    @cached_property
    def model_hash(self) -> str:
        """Hash of the bundle: 12 hexadecimal digits of SHA-256."""
        digest = hashlib.sha256()
        for path in self._files:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def ask(self, names: Sequence[str], full_names: bool = False) -> Answers:
        """Answers as arrays; each distinct name is computed once.

        Args:
            names: the names, in any script.
            full_names: find the surname in each name first, see `stages.corpus.full_names`.
        """
        usable: dict[int, str] = {}
        rejected: dict[int, Rejected] = {}
        for row, name in enumerate(names):
            try:
                usable[row] = self._normalise(name, full_names)
            except Rejected as reason:
                rejected[row] = reason
        probabilities = np.full((len(names), len(self.countries)), np.nan, dtype=np.float32)
        reasons, kinds = np.zeros((2, len(names)), dtype=np.uint8)
        if usable:
            distinct = {name: n for n, name in enumerate(dict.fromkeys(usable.values()))}
            rows, numbers = list(usable), [distinct[name] for name in usable.values()]
            own_kinds = self._config.kinds(list(distinct))
            own_probabilities, own_reasons = self._compute(list(distinct), own_kinds)
            probabilities[rows], reasons[rows] = own_probabilities[numbers], own_reasons[numbers]
            kinds[rows] = own_kinds[numbers]
        return Answers(probabilities, reasons, rejected, kinds)

    def sets(self, answers: Answers) -> list[list[str]]:
        """The prediction set of each name, the most probable country first.

        Empty for an unusable name, and for all without held-out rows. Answers have to be those of
        `ask`: reweighted probabilities have other thresholds.
        """
        probabilities = answers.probabilities
        sets: list[list[str]] = [[] for _ in probabilities]
        if self.held_out is None:
            return sets
        thresholds = self.held_out.thresholds[answers.kinds]
        rows, countries = np.nonzero(prediction_sets(probabilities, thresholds))
        order = np.lexsort((-probabilities[rows, countries], rows))
        for row, country in zip(rows[order].tolist(), countries[order].tolist(), strict=True):
            sets[row].append(self.countries[country])
        return sets

    def probabilities(
        self, names: Sequence[str], unusable: Literal["raise", "nan"] = "raise"
    ) -> NDArray[np.float32]:
        """Calibrated probabilities, (names, countries); each row sums to 1.

        Args:
            names: the names, in any script.
            unusable: the treatment of a name that is empty, too long or has control characters:
                `Rejected` is raised, or its row is NaN.
        """
        answers = self.ask(names)
        if unusable == "raise":
            _raise_first(answers.rejected)
        return answers.probabilities

    def answers(
        self, names: Sequence[str], top: int = 3, abstain: float = 0.0, full_names: bool = False
    ) -> list[Prediction | Rejected]:
        """`predict`, but an unusable name has its reason as its answer."""
        found = self.ask(names, full_names)
        probabilities, reasons, rejected, _ = found
        order = np.argsort(-probabilities, axis=1, kind="stable")
        sets = self.sets(found)
        answers: list[Prediction | Rejected] = []
        for row, name in enumerate(names):
            if row in rejected:
                answers.append(rejected[row])
                continue
            shares = probabilities[row].tolist()
            ranked = [(self.countries[n], shares[n]) for n in order[row][: max(top, 1)]]
            country, probability = ranked[0]
            why = int(reasons[row]) or (AMBIGUOUS if probability < abstain else NO_REASON)
            best = UNSURE if why else country
            parts = (name, best, probability, REASONS[why], sets[row], ranked[:top])
            answers.append(Prediction(*parts))
        return answers

    def predict(
        self, names: Sequence[str], top: int = 3, abstain: float = 0.0, full_names: bool = False
    ) -> list[Prediction]:
        """The most probable country of each name.

        Args:
            names: the names, in any script.
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

    def shares(self, names: Sequence[str], full_names: bool = False) -> dict[str, Any]:
        """The shares of the countries in a population, estimated from its names.

        Args:
            names: the names of the whole population or of a random sample; in any script.
            full_names: find the surname in each name first, see `stages.corpus.full_names`.

        Returns:
            What ``onoma shares --json`` writes: ``shares`` lists country, share, its 95 % interval
            (``lower``, ``upper``) and ``plain``, the mean probability, the largest share first;
            ``notes`` say when the estimate is doubtful.

        Raises:
            UserError: the model was trained without held-out rows.
        """
        from stages.serving.shares import Population  # imports SciPy

        population = Population(self.countries, self.held_out, seed=1)
        answers = self.ask(names, full_names)
        population.add(answers.probabilities, answers.reasons)
        return {"model": self.model_hash, "population": self.population} | population.summary()

    def occlusion(self, name: str) -> Occlusion:
        """Leave out each character in turn and compare the most probable country's probability.

        Raises:
            Rejected: the name is unusable.
        """
        name = self._normalise(name)
        shorter = [name[:n] + name[n + 1 :] for n in range(len(name))]
        names = [name, *filter(None, shorter)]
        kinds = np.repeat(self._config.kinds([name]), len(names))
        (whole, *parts), _ = self._compute(names, kinds)
        best = int(whole.argmax())
        if len(name) == 1:  # nothing is left of it: every country is equally probable
            parts = [np.full_like(whole, 1 / len(whole))]
        effects = np.array([whole[best] - part[best] for part in parts], dtype=np.float32)
        return Occlusion(name, self.countries[best], effects)

    def _normalise(self, name: str, full_names: bool = False) -> str:
        if self._config.names != "surnames":
            name = canonical(name)
        elif full_names:
            name = surname(name)
        return normalise(name, self._config.normalize, self._config.max_length)

    def _compute(
        self, names: list[str], kinds: NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Probabilities and reasons of normalised names."""
        codes, offsets = self._config.vocabulary.encode(names)
        lengths = np.diff(offsets)
        logits = np.empty((len(names), len(self.countries)), dtype=np.float32)
        batches: list[NDArray[np.intp]] = []
        for length in np.unique(lengths).tolist():
            rows, size = np.flatnonzero(lengths == length), max(1, BATCH_CODES // length)
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
            scaled = logits / np.array(self._config.temperatures, np.float32)[kinds, None]
        if not np.isfinite(scaled).all():
            weights = self._files[-1] if self._files else "the model"
            raise UserError(f"{weights}: its answers are no numbers; the weights are damaged")
        reasons = np.zeros(len(names), dtype=np.uint8)
        scripts = self._letters.scripts(codes, offsets)
        if self.held_out:
            highest = logits.max(axis=1)
            energy = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
            measures = np.stack([self._ngrams.known(codes, offsets), energy], axis=1)
            reasons[self.held_out.unfamiliar(scripts, measures)] = UNFAMILIAR
        reasons[scripts < 0] = SCRIPT
        full = self._config.names != "surnames"
        reasons[[unusable(name, full) is not None for name in names]] = NOT_A_SURNAME
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True), reasons


def _raise_first(rejected: Mapping[int, Rejected]) -> None:
    for row, reason in rejected.items():
        raise Rejected(f"name {row + 1}: {reason}")
