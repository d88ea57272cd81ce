"""How one set of names differs from an earlier one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.distance import jensenshannon


@dataclass
class Profile:
    """Counts over names, filled chunk by chunk; its size does not grow with the names."""

    countries: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)

    def add(self, names: Sequence[str], countries: Iterable[str]) -> None:
        """Count more rows."""
        self.countries.update(countries)
        self.lengths.update(map(len, names))
        self.characters.update("".join(names))

    def share(self, country: str) -> float:
        """Share of the rows that have this country."""
        return self.countries[country] / self.countries.total()

    def mean_length(self) -> float:
        """Mean length of the names in characters."""
        return sum(n * count for n, count in self.lengths.items()) / self.lengths.total()


def drift(old: Profile, new: Profile) -> dict[str, Any]:
    """What changed from ``old`` to ``new``.

    Returns:
        ``new_characters``, ``vanished_characters``, ``new_countries``, ``vanished_countries``
        (each with its count, most frequent first), ``shares`` (country -> (old, new) share of
        rows, largest change first), ``mean_length`` (old, new; in characters) and ``distance``:
        the Jensen-Shannon distances (base 2; 0: equal, 1: disjoint) of ``countries``,
        ``lengths`` and ``characters``.
    """
    countries = sorted(old.countries | new.countries)
    shares = {country: (old.share(country), new.share(country)) for country in countries}
    return {
        "new_characters": _only_in(new.characters, old.characters),
        "vanished_characters": _only_in(old.characters, new.characters),
        "new_countries": _only_in(new.countries, old.countries),
        "vanished_countries": _only_in(old.countries, new.countries),
        "shares": dict(sorted(shares.items(), key=lambda item: -abs(item[1][1] - item[1][0]))),
        "mean_length": (old.mean_length(), new.mean_length()),
        "distance": {
            part: _distance(getattr(old, part), getattr(new, part))
            for part in ("countries", "lengths", "characters")
        },
    }


def _only_in(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    keys = one.keys() - other.keys()
    return {key: one[key] for key in sorted(keys, key=lambda key: (-one[key], key))}


def _distance(old: Counter[Any], new: Counter[Any]) -> float:
    keys = sorted(old | new)
    distance = jensenshannon([old[key] for key in keys], [new[key] for key in keys], base=2)
    return float(np.nan_to_num(distance))  # rounding can give the root of a number just below 0
