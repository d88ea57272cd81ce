"""Names -> probabilities, reasons, sets and groups as arrays, whatever computes the logits."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.corpus.full_names import unusable
from stages.corpus.normalize import Rejected, normalise
from stages.serving import inputs
from stages.serving.config import Config
from stages.serving.held_out import Floats, Integers, Letters, NgramSet, prediction_sets
from stages.serving.inputs import Errors
from stages.serving.prediction import REASONS, SCRIPT, UNFAMILIAR, Answers

BATCH_CODES = 2**11  # of a batch: large enough for the products, small enough for the caches

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""(batch, length) codes of names of one length, with BOS and EOS -> (batch, countries)."""


class Engine:
    """What a model answers, as arrays.

    Attributes:
        countries: the countries, in the order of the columns.
        groups: neighbouring countries by the name of their group.
        reads: what the model may be asked: ``surnames``, ``full`` names or ``both``.
        population: what the training names are a sample of, in words.
        held_out: what the bundle keeps of held-out rows, if there were any.
        training_names: the number of training names of each country; empty if it is not known.
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
        self.held_out, self.groups, self.reads = config.held_out, config.groups, config.names
        self.training_names = config.training_names
        self._letters = Letters(config.vocabulary)
        self._ngrams = NgramSet(self._letters, self.held_out.ngrams if self.held_out else None)
        numbers = {label: n for n, labels in enumerate(self.groups.values()) for label in labels}
        self._group_of = np.array([numbers.get(country, -1) for country in self.countries])

    @property
    def reads_full_names(self) -> bool:
        """Whether the model is asked full names, not surnames alone."""
        return self.reads != "surnames"

    @cached_property
    def model_hash(self) -> str:
        """Hash of the bundle: 12 hexadecimal digits of SHA-256."""
        digest = hashlib.sha256()
        for path in self._files:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def ask(
        self,
        names: Iterable[Any],
        full_names: bool = False,
        given: Iterable[Any] | None = None,
        errors: Errors = "coerce",
    ) -> Answers:
        """Answers as arrays; each distinct name is computed once. See `Predictor.predict`."""
        names = inputs.as_list(names, errors)
        first_names = [None] * len(names) if given is None else inputs.as_list(given, errors)
        if len(first_names) != len(names):
            raise ValueError(f"{len(names)} names, but {len(first_names)} given names")
        read: dict[int, str] = {}
        rejected: dict[int, str] = {}
        read_as: dict[int, str] = {}
        for row, (name, first) in enumerate(zip(names, first_names, strict=True)):
            try:
                read[row], is_other = self._read(name, first, full_names)
                if is_other:
                    read_as[row] = read[row]
            except Rejected as reason:
                if errors == "raise":
                    raise Rejected(f"name {row + 1}: {reason}") from None
                rejected[row] = str(reason)
        probabilities = np.full((len(names), len(self.countries)), np.nan, dtype=np.float32)
        reasons, kinds = np.zeros((2, len(names)), dtype=np.uint8)
        if read:
            # In order: the graph reads the beginnings that neighbours share once.
            distinct = {name: n for n, name in enumerate(sorted(set(read.values())))}
            rows, numbers = list(read), [distinct[name] for name in read.values()]
            own_kinds = self._config.kinds(list(distinct))
            own_probabilities, own_reasons = self._compute(list(distinct), own_kinds)
            probabilities[rows], reasons[rows] = own_probabilities[numbers], own_reasons[numbers]
            kinds[rows] = own_kinds[numbers]
        texts = names if given is None else list(map(inputs.joined, names, first_names))
        return Answers(probabilities, reasons, kinds, texts, rejected, read_as)

    def sets(self, answers: Answers) -> list[list[str]]:
        """The prediction set of each name, the most probable country first.

        Empty for an unusable name, and for all without held-out rows. The answers have to be those
        of `ask`: reweighted probabilities have other thresholds.
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

    def regions(self, probabilities: Floats, reasons: Integers) -> tuple[Integers, Floats]:
        """The group of each name's most probable country, and the probability of the whole group.

        Args:
            probabilities: (names, countries), as of `ask` or reweighted.
            reasons: (names,) as of `ask`; a name with one has no group.

        Returns:
            (names,) index into ``groups``, -1 where there is no group; (names,) probabilities.
        """
        groups = self._group_of[probabilities.argmax(axis=1)]
        members = self._group_of == groups[:, None]
        is_usable = (reasons == 0) & ~np.isnan(probabilities[:, 0])
        return np.where(is_usable, groups, -1), np.where(members, probabilities, 0).sum(axis=1)

    def _read(self, name: Any, given: Any, full_names: bool) -> tuple[str, bool]:
        """The normalised text that the model is asked, and whether its words are not the caller's.

        Raises:
            Rejected: it is unusable.
        """
        text = inputs.read(name, given, not self.reads_full_names, full_names)
        normalised = self._normalise(text)
        whole = name if given is None else inputs.joined(name, given)
        if text == whole:
            return normalised, False
        try:
            return normalised, normalised != self._normalise(whole)
        except Rejected:
            return normalised, True

    def _normalise(self, text: str) -> str:
        return normalise(text, self._config.normalize, self._config.max_length)

    def _compute(
        self, names: list[str], kinds: Integers
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Probabilities and reasons of normalised names of these kinds."""
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
            scaled = logits / np.array(self._config.temperatures, dtype=np.float32)[kinds, None]
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
        full = self.reads_full_names
        for row, reason in enumerate(unusable(name, full) for name in names):
            if reason:
                reasons[row] = REASONS.index(reason)
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True), reasons
