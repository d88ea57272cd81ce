"""How one set of names differs from an earlier one: what a retrained model has to cope with."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from stages.corpus.vocabulary import UNICODE, codepoints


@dataclass
class Profile:
    """Counts over names, filled chunk by chunk; its size does not grow with the names."""

    rows: int = 0
    countries: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    characters: NDArray[np.int64] = field(default_factory=lambda: np.zeros(UNICODE, np.int64))

    def add(self, names: Sequence[str], countries: Iterable[str]) -> None:
        """Count some rows more."""
        self.rows += len(names)
        self.countries.update(countries)
        self.lengths.update(map(len, names))
        points, counts = np.unique(codepoints("".join(names)), return_counts=True)
        self.characters[points] += counts


def drift(old: Profile, new: Profile) -> dict[str, Any]:
    """What changed from ``old`` to ``new``.

    Returns:
        ``new_characters`` and ``vanished_characters`` (character -> occurrences, most frequent
        first), ``new_countries`` and ``vanished_countries`` (country -> rows),
        ``shares`` (country -> (old, new) share of rows, greatest change first), ``mean_length``
        (old, new; in characters), and the Jensen-Shannon distances (base 2; 0: alike, 1: nothing
        in common) of ``countries``, ``lengths`` and ``characters`` as ``distance``.
    """
    shares = {
        country: (old.countries[country] / old.rows, new.countries[country] / new.rows)
        for country in sorted(old.countries.keys() | new.countries.keys())
    }
    lengths = sorted(old.lengths.keys() | new.lengths.keys())
    used = np.flatnonzero(old.characters + new.characters)
    return {
        "new_characters": _only_in(new.characters, old.characters),
        "vanished_characters": _only_in(old.characters, new.characters),
        "new_countries": _rows_of_others(new, old),
        "vanished_countries": _rows_of_others(old, new),
        "shares": dict(
            sorted(shares.items(), key=lambda item: (-abs(item[1][1] - item[1][0]), item[0]))
        ),
        "mean_length": tuple(
            sum(length * count for length, count in profile.lengths.items()) / profile.rows
            for profile in (old, new)
        ),
        "distance": {
            "countries": _distance(list(shares.values())),
            "lengths": _distance([(old.lengths[n], new.lengths[n]) for n in lengths]),
            "characters": _distance(np.stack([old.characters[used], new.characters[used]], axis=1)),
        },
    }


def _rows_of_others(profile: Profile, known: Profile) -> dict[str, int]:
    others = profile.countries.keys() - known.countries.keys()
    return {country: profile.countries[country] for country in sorted(others)}


def _only_in(one: NDArray[np.int64], other: NDArray[np.int64]) -> dict[str, int]:
    points = np.flatnonzero((one > 0) & (other == 0))
    points = points[np.argsort(-one[points], kind="stable")]
    return {chr(point): int(one[point]) for point in points}


def _distance(pairs: Any) -> float:
    old, new = np.asarray(pairs, dtype=float).T
    # Rounding may leave the square root of something just below 0.
    return float(np.nan_to_num(jensenshannon(old, new, base=2)))
