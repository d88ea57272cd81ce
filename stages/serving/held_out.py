"""What a bundle keeps of held-out rows, and what follows for a name. NumPy only.

Held-out rows are labelled names that the model was not trained on. From them follow the set of
countries that a name may come from, and whether it looks like the names of the training corpus.
"""

import base64
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.corpus.normalize import script
from stages.corpus.vocabulary import END, UNKNOWN, Vocabulary

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

LEVELS = 16  # stored values for each unit of the log of a probability
MOST_ROWS, MOST_CELLS = 4096, 2**20  # of held-out rows in a bundle
TYPES = {
    "prior": "<f8",
    "thresholds": "<f8",
    "labels": "<u2",
    "probabilities": "<u1",
    "scripts": "<i2",
    "measures": "<f4",
    "ngrams": "<u1",
}
LOWEST = 1e-6  # probabilities below this count as this: float32 has few digits there
ORDERS = (3, 4)  # lengths of the n-grams
BITS = 20  # log2 of the number of hash values
FALSE_ALARMS = 0.0115  # share of held-out names that are called unfamiliar; of new names, some more
# Odd numbers, one for each character of an n-gram: multiply-shift hashing.
FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)


class Letters:
    """What the codes of a vocabulary stand for.

    Attributes:
        plain: (codes,) a number for each code, the same for É, E, é and e.
        script: (codes,) for letters, the index of their script in the vocabulary; else -1.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        fallbacks = UNKNOWN + 1
        first = fallbacks + len(vocabulary.scripts)
        self.plain = np.arange(len(vocabulary), dtype=np.uint64)
        self.script = np.full(len(vocabulary), -1)
        place = {name: n for n, name in enumerate(vocabulary.scripts)}
        other = set()  # hyphens, apostrophes, blanks
        for code, character in enumerate(vocabulary.characters, start=first):
            self.plain[code] = 2**16 + ord(unicodedata.normalize("NFD", character.lower())[0])
            if character.isalpha():
                self.script[code] = place[script(character)]
            else:
                other.add(script(character))
        for name, n in place.items():
            if name not in other:
                self.script[fallbacks + n] = n

    def scripts(self, codes: Integers, offsets: Integers) -> Integers:
        """(names,) the script of each name, -1 if it has no letter of a known script.

        Args:
            codes: of all names, as `Vocabulary.encode` returns them.
            offsets: (names + 1,)
        """
        return np.maximum.reduceat(self.script[codes], offsets[:-1])


class NgramSet:
    """Character n-grams of the training names, without case and accents, as hash values.

    Attributes:
        bits: (2**`BITS` / 8,) one bit for each hash value.
    """

    def __init__(self, letters: Letters, bits: NDArray[np.uint8] | None = None) -> None:
        self._letters = letters
        self.bits = np.zeros(2**BITS // 8, dtype=np.uint8) if bits is None else bits

    def add(self, codes: Integers) -> None:
        """Add the n-grams of names; see `Letters.scripts`."""
        known = np.unpackbits(self.bits)
        for order in ORDERS:
            hashes, inside = self._hashes(codes, order)
            known[hashes[inside]] = 1
        self.bits = np.packbits(known)

    def known(self, codes: Integers, offsets: Integers) -> Floats:
        """(names,) share of known n-grams, the mean over `ORDERS`; see `Letters.scripts`."""
        shares = np.zeros(len(offsets) - 1)
        for order in ORDERS:
            hashes, inside = self._hashes(codes, order)
            found = inside & (self.bits[hashes >> 3] >> (7 - (hashes & 7)) & 1).astype(bool)
            # A name that is too short for this order counts as known.
            hits, total = (
                np.add.reduceat(part, offsets[:-1], dtype=np.int64) for part in (found, inside)
            )
            shares += np.where(total > 0, hits / np.maximum(total, 1), 1.0)
        return shares / len(ORDERS)

    def _hashes(self, codes: Integers, order: int) -> tuple[Integers, NDArray[np.bool_]]:
        """(codes,) hash of the n-gram that begins at each position, and whether it is in a name."""
        plain = np.concatenate([self._letters.plain[codes], np.zeros(order, dtype=np.uint64)])
        ends = np.concatenate([codes == END, np.ones(order, dtype=bool)])
        total = np.full(len(codes), order, dtype=np.uint64)
        inside = np.ones(len(codes), dtype=bool)
        for n in range(order):
            total = (total ^ plain[n : n + len(codes)]) * np.uint64(FACTORS[n])
            if n < order - 1:
                inside &= ~ends[n : n + len(codes)]
        return (total >> np.uint64(64 - BITS)).astype(np.int64), inside


@dataclass(frozen=True)
class Familiarity:
    """Whether names look like held-out names of their script.

    Two measures, both low for unfamiliar names: the share of known n-grams, which finds random
    letters, and the energy, the log of the sum of the exponentials of the logits (Liu et al.,
    Energy-based Out-of-distribution Detection, 2020), which finds names of other countries. Their
    p-values are combined by Fisher's method (Statistical Methods for Research Workers, 1925).

    Attributes:
        scripts: (rows,) of the held-out rows.
        measures: (rows, 2) known share, energy.
    """

    scripts: Integers
    measures: Floats

    def unfamiliar(self, scripts: Integers, measures: Floats) -> NDArray[np.bool_]:
        """(names,) whether a name is unfamiliar, from its script and (names, 2) measures.

        Scripts with few held-out rows are pooled; a pool that is too small finds nothing.
        """
        present, counts = np.unique(self.scripts, return_counts=True)
        enough = present[counts >= 1 / FALSE_ALARMS]
        own, given = (np.where(np.isin(s, enough), s, -1) for s in (self.scripts, scripts))
        found = np.zeros(len(scripts), dtype=bool)
        for group in np.unique(given):
            reference, names = self.measures[own == group], measures[given == group]
            if len(reference) >= 1 / FALSE_ALARMS:
                limit = np.quantile(_fisher(reference, reference), FALSE_ALARMS)
                found[given == group] = _fisher(reference, names) < limit
        return found


def _fisher(reference: Floats, values: Floats) -> Floats:
    """(values,) sum of the logs of both measures' p-values."""
    total = np.zeros(len(values))
    for n in range(values.shape[1]):
        ranks = np.searchsorted(np.sort(reference[:, n]), values[:, n], side="right")
        total += np.log((ranks + 1) / (len(reference) + 1))
    return total


def prediction_sets(probabilities: Floats, thresholds: Floats) -> NDArray[np.bool_]:
    """(names, countries): which countries are in each set; the most probable one always is."""
    best = probabilities == probabilities.max(axis=1, keepdims=True)
    return np.asarray((probabilities >= thresholds) | best)


def reweight(probabilities: Floats, prior: Floats, shares: Floats) -> Floats:
    """Probabilities in a population with these shares by Bayes' rule.

    Args:
        probabilities: (names, countries).
        prior: (countries,) shares under which the probabilities hold.
        shares: (countries,) of the population.
    """
    posteriors = probabilities * (shares / np.maximum(prior, LOWEST))
    return np.asarray(posteriors / posteriors.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class HeldOut:
    """What a bundle keeps of the held-out rows.

    Attributes:
        prior: (countries,) shares of the population for which the probabilities hold.
        thresholds: (countries,) for `prediction_sets`.
        labels: (rows,) true countries; of many rows, an evenly spaced part is kept.
        probabilities: (rows, countries)
        scripts: (rows,) for `Familiarity`.
        measures: (rows, 2) for `Familiarity`.
        ngrams: bits of an `NgramSet`.
    """

    prior: Floats
    thresholds: Floats
    labels: Integers
    probabilities: Floats
    scripts: Integers
    measures: Floats
    ngrams: NDArray[np.uint8]

    @cached_property
    def familiarity(self) -> Familiarity:
        """The rows as a reference for unfamiliar names."""
        return Familiarity(self.scripts, self.measures)

    def to_config(self) -> dict[str, str]:
        """As JSON values: little-endian arrays in base64."""
        step = -(-len(self.labels) // max(1, min(MOST_ROWS, MOST_CELLS // len(self.prior))))
        rows = slice(None, None, max(step, 1))
        levels = np.rint(-np.log(np.clip(self.probabilities[rows], LOWEST, 1)) * LEVELS)
        kept = {
            "prior": self.prior,
            "thresholds": self.thresholds,
            "labels": self.labels[rows],
            "probabilities": levels,
            "scripts": self.scripts[rows],
            "measures": self.measures[rows],
            "ngrams": self.ngrams,
        }
        return {
            name: base64.b64encode(np.asarray(values).astype(TYPES[name]).tobytes()).decode()
            for name, values in kept.items()
        }

    @classmethod
    def from_config(cls, config: Mapping[str, str], countries: int) -> Self:
        """Undo `to_config`.

        Raises:
            ValueError: the arrays do not fit together.
        """
        if config.keys() != TYPES.keys():
            raise ValueError(f"held_out needs {', '.join(TYPES)}")
        found = {
            name: np.frombuffer(base64.b64decode(config[name], validate=True), dtype)
            for name, dtype in TYPES.items()
        }
        rows = len(found["labels"])
        found["measures"] = found["measures"].reshape(rows, 2)
        levels = found["probabilities"].reshape(rows, countries)
        raw = np.exp(levels / -LEVELS)
        found["probabilities"] = raw / raw.sum(axis=1, keepdims=True)
        if not (
            rows > 0
            and found["prior"].shape == found["thresholds"].shape == (countries,)
            and found["scripts"].shape == (rows,)
            and found["ngrams"].shape == (2**BITS // 8,)
            and (found["labels"] < countries).all()
            and np.isfinite(found["measures"]).all()
            and (found["prior"] >= 0).all()
            and (found["thresholds"] >= 0).all()
        ):
            raise ValueError("the arrays of held_out do not fit together")
        return cls(**found)
