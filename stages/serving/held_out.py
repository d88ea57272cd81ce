"""What a bundle keeps of held-out rows, and what follows for a name. NumPy only.

Held-out rows are labelled names that the model was not trained on. From them follow the set of
countries that a name may come from, and whether it looks like the names of the training corpus.
"""

import json
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from stages.corpus.normalize import script
from stages.corpus.vocabulary import END, UNKNOWN, Vocabulary

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

LOG_STEPS = 16  # stored values for each unit of the log of a probability
MOST_ROWS, MOST_CELLS = 4096, 2**20  # of held-out rows in a bundle
TYPES: Final = {
    "prior": "<f8",
    "thresholds": "<f8",
    "labels": "<u2",
    "kinds": "|u1",
    "probabilities": "|u1",
    "scripts": "<i2",
    "measures": "<f4",
    "ngrams": "|u1",
}
LOWEST = 1e-6  # probabilities below this count as this: float32 has few digits there
ORDERS = (3, 4)  # lengths of the n-grams
BITS = 20  # log2 of the number of hash values
OTHERS = -1  # in the place of a script: all with few held-out rows
FALSE_ALARMS = 0.0115  # share of held-out names that are called unfamiliar; of new names, some more
# Odd numbers, one for each character of an n-gram: multiply-shift hashing.
FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)


class Letters:
    """What the codes of a vocabulary stand for, and the n-grams of the training names.

    Attributes:
        plain: (codes,) a number for each code, the same for É, E, é and e.
        script: (codes,) for letters, the index of their script in the vocabulary; else -1.
        ngrams: (2**`BITS` / 8,) one bit for each hash value of an n-gram of `plain`.
    """

    def __init__(self, vocabulary: Vocabulary, ngrams: NDArray[np.uint8] | None = None) -> None:
        self.ngrams = np.zeros(2**BITS // 8, dtype=np.uint8) if ngrams is None else ngrams
        fallbacks = UNKNOWN + 1
        first = fallbacks + len(vocabulary.scripts)
        self.plain = np.arange(len(vocabulary), dtype=np.uint64)
        self.script = np.full(len(vocabulary), -1)
        numbers = {name: n for n, name in enumerate(vocabulary.scripts)}
        symbols = set()  # scripts of hyphens, apostrophes, blanks
        for code, character in enumerate(vocabulary.characters, start=first):
            self.plain[code] = 2**16 + ord(unicodedata.normalize("NFD", character.lower())[0])
            if character.isalpha():
                self.script[code] = numbers[script(character)]
            else:
                symbols.add(script(character))
        for name, n in numbers.items():
            if name not in symbols:
                self.script[fallbacks + n] = n

    def scripts(self, codes: Integers, offsets: Integers) -> Integers:
        """(names,) the script of each name, -1 if it has no letter of a known script.

        Args:
            codes: the codes of all names, as `Vocabulary.encode` returns them.
            offsets: (names + 1,) where each name begins.
        """
        return np.maximum.reduceat(self.script[codes], offsets[:-1])

    def add(self, codes: Integers) -> None:
        """Add the n-grams of training names; see `scripts`."""
        bits = np.unpackbits(self.ngrams)
        for order in ORDERS:
            hashes, inside = self._hashes(codes, order)
            bits[hashes[inside]] = 1
        self.ngrams = np.packbits(bits)

    def known(self, codes: Integers, offsets: Integers) -> Floats:
        """(names,) share of known n-grams, the mean over `ORDERS`; see `scripts`."""
        shares = np.zeros(len(offsets) - 1)
        for order in ORDERS:
            hashes, inside = self._hashes(codes, order)
            known = inside & (self.ngrams[hashes >> 3] >> (7 - (hashes & 7)) & 1).astype(bool)
            known_count = np.add.reduceat(known, offsets[:-1], dtype=np.int64)
            count = np.add.reduceat(inside, offsets[:-1], dtype=np.int64)
            # A name that is too short for this order counts as known.
            shares += np.where(count > 0, known_count / np.maximum(count, 1), 1.0)
        return shares / len(ORDERS)

    def _hashes(self, codes: Integers, order: int) -> tuple[Integers, NDArray[np.bool_]]:
        """(codes,) hash of the n-gram that begins at each position, and whether it is in a name."""
        plain = np.concatenate([self.plain[codes], np.zeros(order, dtype=np.uint64)])
        ends = np.concatenate([codes == END, np.ones(order, dtype=bool)])
        hashed = np.full(len(codes), order, dtype=np.uint64)
        inside = np.ones(len(codes), dtype=bool)
        for n in range(order):
            hashed = (hashed ^ plain[n : n + len(codes)]) * np.uint64(FACTORS[n])
            if n < order - 1:
                inside &= ~ends[n : n + len(codes)]
        return (hashed >> np.uint64(64 - BITS)).astype(np.int64), inside


def prediction_sets(probabilities: Floats, thresholds: Floats) -> NDArray[np.bool_]:
    """(names, countries): which countries are in each set; the most probable one always is.

    Args:
        probabilities: (names, countries) the model's answers.
        thresholds: (names, countries) or (countries,) the lowest probabilities in a set.
    """
    best = probabilities == probabilities.max(axis=1, keepdims=True)
    return np.asarray((probabilities >= thresholds) | best)


def reweight(probabilities: Floats, prior: Floats, shares: Floats) -> Floats:
    """Probabilities in a population with these shares by Bayes' rule.

    Args:
        probabilities: (names, countries) the model's answers.
        prior: (names, countries) or (countries,) shares under which the probabilities hold.
        shares: (countries,) shares of the population.
    """
    posteriors = probabilities * (shares / np.maximum(prior, LOWEST))
    return np.asarray(posteriors / posteriors.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class HeldOut:
    """What a bundle keeps of the held-out rows.

    Attributes:
        prior: (kinds, countries) shares of the population for which the probabilities of a kind of
            name hold.
        thresholds: (kinds, countries) for `prediction_sets`.
        labels: (rows,) true countries; of many rows, an evenly spaced part is kept.
        kinds: (rows,) the kind of each name, as of `Config.kinds`.
        probabilities: (rows, countries) the model's answers.
        scripts: (rows,) the script of each name.
        measures: (rows, 2) share of known n-grams, energy.
        ngrams: the n-grams of `Letters`.
    """

    prior: Floats
    thresholds: Floats
    labels: Integers
    kinds: Integers
    probabilities: Floats
    scripts: Integers
    measures: Floats
    ngrams: NDArray[np.uint8]

    def unfamiliar(self, scripts: Integers, measures: Floats) -> NDArray[np.bool_]:
        """(names,) whether a name looks unlike the held-out names of its script.

        Two measures, both low for unfamiliar names: the share of known n-grams, which finds random
        letters, and the energy, the log of the sum of the exponentials of the logits (Liu et al.,
        Energy-based Out-of-distribution Detection, 2020), which finds names of other countries.
        Their p-values are combined by Fisher's method (Statistical Methods for Research Workers,
        1925). Scripts with few held-out rows are pooled; too small a pool finds nothing.

        Args:
            scripts: (names,) the script of each name.
            measures: (names, 2) as of the held-out rows.
        """
        unfamiliar = np.zeros(len(scripts), dtype=bool)
        for number in np.unique(scripts).tolist():
            if pool := self._pools.get(number, self._pools.get(OTHERS)):
                own, (ordered, limit) = scripts == number, pool
                unfamiliar[own] = _fisher(ordered, measures[own]) < limit
        return unfamiliar

    @cached_property
    def _pools(self) -> dict[int, tuple[Floats, float]]:
        """The measures to compare with for each script, in order, and the lowest familiar sum."""
        present, counts = np.unique(self.scripts, return_counts=True)
        frequent = present[counts >= 1 / FALSE_ALARMS]
        scripts = np.where(np.isin(self.scripts, frequent), self.scripts, OTHERS)
        pools: dict[int, tuple[Floats, float]] = {}
        for number in np.unique(scripts).tolist():
            own = self.measures[scripts == number]
            if len(own) >= 1 / FALSE_ALARMS:
                ordered = np.sort(own.T).astype(np.float64)  # the type of what is compared
                pools[number] = ordered, float(np.quantile(_fisher(ordered, own), FALSE_ALARMS))
        return pools

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of `TYPES`; of the rows, a bounded part."""
        step = -(-len(self.labels) // max(1, min(MOST_ROWS, MOST_CELLS // self.prior.shape[1])))
        rows = slice(None, None, max(step, 1))
        levels = np.rint(-np.log(np.clip(self.probabilities, LOWEST, 1)) * LOG_STEPS)
        arrays = {**vars(self), "probabilities": levels}
        for name in ("labels", "kinds", "probabilities", "scripts", "measures"):
            arrays[name] = arrays[name][rows]
        return {name: np.ascontiguousarray(arrays[name], TYPES[name]) for name in TYPES}

    @classmethod
    def from_bytes(cls, content: bytes, kinds: int, countries: int) -> Self:
        """Read a safetensors file of `to_arrays`: its header names, types and places arrays.

        Args:
            content: the file, from any source.
            kinds: the number of kinds of names in its bundle.
            countries: the number of countries in its bundle.

        Raises:
            ValueError: an array is missing or damaged, or they do not fit together.
        """
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        arrays: dict[str, Any] = {}
        for name, dtype in TYPES.items():
            try:
                begin, end = header[name]["data_offsets"]
                arrays[name] = np.frombuffer(memoryview(content)[start:][begin:end], dtype)
            except (LookupError, TypeError):
                raise ValueError(f"has no array {name}") from None
            code = f"{dtype[1].upper()}{8 * int(dtype[2])}"
            if header[name].get("dtype") != code:
                raise ValueError(f"{name} is not {code}")
        rows = len(arrays["labels"])
        shapes: dict[str, Any] = {"measures": (rows, 2), "probabilities": (rows, countries)}
        shapes |= dict.fromkeys(("prior", "thresholds"), (kinds, countries))
        shapes["ngrams"] = 2**BITS // 8
        arrays = {name: array.reshape(shapes.get(name, rows)) for name, array in arrays.items()}
        raw = np.exp(arrays["probabilities"] / -LOG_STEPS)
        arrays["probabilities"] = raw / raw.sum(axis=1, keepdims=True)
        prior, thresholds = arrays["prior"], arrays["thresholds"]
        if not (
            0 < rows <= MOST_ROWS
            and (arrays["labels"] < countries).all()
            and (arrays["kinds"] < kinds).all()
            and np.isfinite(arrays["measures"]).all()
            and (prior >= 0).all()
            and (abs(prior.sum(axis=1) - 1) < 1e-6).all()
            and ((thresholds >= 0) & (thresholds <= 1)).all()
        ):
            raise ValueError("the arrays of held-out rows do not fit together")
        return cls(**arrays)


def _fisher(ordered: Floats, values: Floats) -> Floats:
    """(names,) sums of the logs of p-values: (names, measures) among ordered (measures, rows)."""
    pairs = zip(ordered, values.T, strict=True)
    ranks = np.stack([np.searchsorted(rows, value, side="right") for rows, value in pairs])
    return np.asarray(np.log((ranks + 1) / (ordered.shape[1] + 1)).sum(axis=0))
