"""From lists and counts to rows: which countries have a name, how often, in which file."""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from name_lists import List, Listing, digest, read
from name_spelling import SOURCES, clean, fold, romanise
from people_counts import Counts

NAMES_PER_LIST = 2000  # of a country's lists together
NAMES_COUNTED = 6000  # of a country's people, the most frequent first
OWNED = 0.2  # of the highest rate of all countries: one with less does not have the name
MOST_ROWS = 60
POWER = 0.6  # of a name's number of people: its number of rows
TEST_SHARE = 10  # every tenth name, of those that few people have
KINDS = ("core", "residents", "wide")  # of lists: sources.toml says what they mean


@dataclass(frozen=True)
class Surname:
    """A name of one country: as listed, in Latin letters, and how well its lists know it."""

    country: str
    name: str
    romanised: frozenset[str]
    lists: int = 1
    rank: int = sys.maxsize
    times: int = 1

    @property
    def folds(self) -> set[str]:
        """What the name is recognised by, however it is written, and as its masculine form."""
        folds = {fold(spelling) for spelling in (self.name, *self.romanised)}
        rules = SOURCES["feminine"].get(self.country, [])
        return folds | {re.sub(f"{end}$", masculine, f) for f in folds for end, masculine in rules}


class Row(NamedTuple):
    """A line of the corpus, which stands ``times`` times."""

    name: str
    country: str
    times: int = 1


# ---- lists


def kept(lists: dict[str, list[List]]) -> Iterator[tuple[str, List, Listing]]:
    """Yield each list with those of its names that no other country's lists own.

    Only lists that pip brings own names, so that what they give does not depend on npm's.
    """
    everything = [(c, source, read(source)) for c, sources in lists.items() for source in sources]
    owned: dict[str, dict[str, set[str]]] = {kind: defaultdict(set) for kind in KINDS}
    for kind in KINDS:
        for country, source, listing in everything:
            if source.kind != kind:
                continue
            rivals = [owned["core"][c] for c in lists if c != country and c in SOURCES["abroad"]]
            if kind == "wide":
                rivals = [owned[k][c] for k in KINDS[:2] for c in lists if c != country]
            foreign = set().union(*rivals) - owned["core"][country] if kind != "core" else set()
            own = {n: given for n, given in listing.items() if not _folds({n: given}) & foreign}
            yield country, source, own
            if source.client == "pip":
                owned[kind][country] |= _folds(own)


def _folds(listing: Listing) -> set[str]:
    # A kanji name is known abroad by its romaji, not by what anyascii reads as Chinese.
    return {fold(spelling) for name, given in listing.items() for spelling in given or {name}}


def select(lists: dict[str, list[List]]) -> list[Surname]:
    """Merge the lists of each country into one surname per spelling that they have."""
    times: dict[str, Counter[str]] = defaultdict(Counter)
    ranks: dict[str, dict[str, int]] = defaultdict(dict)
    merged: dict[str, Listing] = defaultdict(lambda: defaultdict(set))
    for country, source, own in kept(lists):
        times[country].update({fold(name) for name in own})
        for place, (name, given) in enumerate(own.items()):
            merged[country][name] |= given
            if source.ranked:
                ranks[country].setdefault(fold(name), place)
    return [
        Surname(
            country,
            name,
            romanise(name, given, country),
            times[country][fold(name)],
            ranks[country].get(fold(name), sys.maxsize),
        )
        for country in lists
        for name, given in merged[country].items()
    ]


def cap(surnames: Iterable[Surname], most: int = NAMES_PER_LIST) -> list[Surname]:
    """Keep so many names per country: those of several lists, the frequent, an arbitrary sample."""
    by_country: dict[str, list[Surname]] = defaultdict(list)
    for surname in surnames:
        by_country[surname.country].append(surname)
    chosen = []
    for names in by_country.values():
        chosen += sorted(names, key=lambda s: (s.lists < 2, s.rank, digest(s.name)))[:most]
    return chosen


# ---- people


def weigh(listed: Iterable[Surname], counts: Counts) -> list[Surname]:
    """Give each name the rows that its people earn it, and add the names that no list has.

    A name has people ** `POWER` rows, at most `MOST_ROWS`. A list's name that people of other
    countries alone have is dropped; one that nobody counted has is kept, once.
    """
    owners = counts.owners(OWNED)
    weighed, there = [], set()
    for surname in listed:
        key, country = fold(surname.name), surname.country
        people = owners.get(key, {})
        there.add((key, country))
        if country in people:
            weighed.append(replace(surname, times=_times(people[country])))
        elif max(people.values(), default=0) < 3 or counts.people[key].get(country, 0) >= 1:
            weighed.append(surname)
    by_country: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for key, people in owners.items():
        for country, number in people.items():
            by_country[country].append((-number, key))
    for country, names in by_country.items():
        for number, key in sorted(names)[:NAMES_COUNTED]:
            spellings = counts.spellings[key]
            name = clean(max(spellings, key=lambda s: (spellings[s], s)), particles=True)
            if name and (key, country) not in there:
                spelled = romanise(name, country=country)
                weighed.append(Surname(country, name, spelled, times=_times(-number)))
    return settle(weighed, counts)


def _times(people: float) -> int:
    return min(MOST_ROWS, max(1, round(people**POWER)))


def settle(surnames: list[Surname], counts: Counts) -> list[Surname]:
    """Let no country have a larger share of its rows in a name than the country that owns it.

    Rows are counts of people in a country of many and shares of a short list in another, so a name
    of both would otherwise belong to the country of the short list.
    """
    total: Counter[str] = Counter()
    by_name: dict[str, list[Surname]] = defaultdict(list)
    for surname in surnames:
        total[surname.country] += surname.times * (1 + len(surname.romanised))
        by_name[fold(surname.name)].append(surname)
    settled = []
    for key, members in by_name.items():
        countries = {surname.country for surname in members}
        rates = {
            c: max(counts.people[key].get(c, 0), 0.3) / max(counts.sizes[c], 300) for c in countries
        }
        owner = max(sorted(rates), key=lambda country: rates[country])
        share = max(s.times for s in members if s.country == owner) / total[owner]
        for surname in members:
            near = (rates[surname.country] / rates[owner]) ** 0.5
            most = round(total[surname.country] * share * near)
            if surname.country == owner or key not in counts.people:
                settled.append(surname)
            elif most:
                settled.append(replace(surname, times=min(surname.times, most)))
    return settled


# ---- split


def group(surnames: Iterable[Surname]) -> dict[str, list[Surname]]:
    """Put together all that shares a fold, also by way of a third name (伊藤 is Itou and Ito).

    Each group goes by the first of its folds.
    """
    surnames = list(surnames)
    parent: dict[str, str] = {}

    def first(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    for surname in surnames:
        roots = {first(name) for name in surname.folds}
        for root in roots:
            parent[root] = min(roots)
    groups: dict[str, list[Surname]] = defaultdict(list)
    for surname in surnames:
        groups[first(min(surname.folds))].append(surname)
    return dict(groups)


def split(surnames: Iterable[Surname]) -> tuple[list[Surname], list[Surname]]:
    """Divide into train and test: every tenth group by its hash, if its names are rare."""
    train: list[Surname] = []
    test: list[Surname] = []
    for name, members in group(surnames).items():
        rare = max(surname.times for surname in members) < 3
        drawn = int(digest(name), 16) % TEST_SHARE == 0
        (test if rare and drawn else train).extend(members)
    return train, test


def rows(surnames: Iterable[Surname]) -> list[Row]:
    """Write out all spellings, one row per name and country, in a fixed order."""
    times: dict[tuple[str, str], int] = defaultdict(int)
    for surname in surnames:
        for spelling in (surname.name, *surname.romanised):
            key = (surname.country, spelling)
            times[key] = max(times[key], surname.times)
    return [Row(name, country, number) for (country, name), number in sorted(times.items())]
