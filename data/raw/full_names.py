"""Full names that nobody in name2nat has: given names of a country with surnames of that country.

Given names are counted in name2nat by their first word, with the words that follow it apart, and
come from `registered` and `given` in sources.toml. A fifth of the surnames are those of the corpus,
the others those that people of the country have, foreign and rare ones among them; to these belong
given names of people whose surnames have the same origin. A name is drawn by its count to the power
of .75, so that rare ones occur; the seed is fixed.
"""

import importlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Generic, TypeVar

from anyascii import anyascii
from name_rows import Row, Surname
from name_spelling import SOURCES, clean, fold
from people_counts import Counts, Person, is_held_out, label_of
from surname_counts import given_names as registered_names

from stages.corpus.normalize import script

PER_COUNTRY = 4000  # of a country of PEOPLE; of others, (people / PEOPLE) ** GROWTH times as many
PEOPLE, GROWTH = 6000, 0.35
FEWEST = 300  # people: name2nat hardly has a country of fewer, which gets PER_COUNTRY
OF_PEOPLE = 0.8  # of these, where people are known: surnames as people have them
LISTED = 1000  # people that a table of given names counts as
MOST_LISTED = 500  # of its names, the most frequent: rare ones are those of people from elsewhere
LEAST = 5  # people of a country and an origin whose given names are drawn from
NATIVE = 300  # of a country whose lists have another script
SEED = 3
POWER = 0.75
ASCII_SHARE = 0.3  # of names in Latin letters, without their accents
# How often the surname stands first.
SURNAME_FIRST = {
    "Chinese": 0.7,
    "Hungarian": 0.3,
    "Japanese": 0.2,
    "Korean": 0.7,
    "Vietnamese": 0.7,
}
T = TypeVar("T", str, tuple[str, bool], tuple[str, str])  # what an urn holds
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*|[A-Z]\.")


@dataclass
class Given:
    """The given names of a country, and the surnames that its people have.

    Attributes:
        first: first words, by whether the surname is feminine.
        second: further words, "" for none.
        surnames: surnames and their origins, the nations that have them most.
        alike: first words by the origin of the surname, and whether it is feminine.
    """

    first: dict[bool, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    second: Counter[str] = field(default_factory=Counter)
    surnames: Counter[tuple[str, str]] = field(default_factory=Counter)
    alike: dict[tuple[str, bool], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )


def is_feminine(surname: str, country: str) -> bool:
    """Say whether a surname has a feminine form of its country."""
    return any(
        re.search(f"{end}$", fold(surname)) for end, _ in SOURCES["feminine"].get(country, [])
    )


def given_names(
    people: Iterable[Person], scored: set[str], counts: Counts, test: set[str]
) -> dict[str, Given]:
    """Count the given names of the people who are neither held out nor in people.toml.

    Args:
        people: of name2nat.
        scored: what the people of people.toml are known by.
        counts: of people by surname.
        test: folds of the surnames that the corpus tests, which no full name has.
    """
    found: dict[str, Given] = defaultdict(Given)
    origins = counts.origins()
    for person in people:
        country = label_of(person.nationality)
        if country[0] == "~" or is_held_out(person.full) or known_by(person.full) in scored:
            continue
        first, *more = person.given.split()
        if len(first) > 1 and all(map(_WORD.fullmatch, (first, *more))):
            names, feminine = found[country], is_feminine(person.surname, country)
            names.first[feminine][first] += 1
            names.second.update(more[:1] or [""])
            if not Surname(country, person.surname, frozenset()).folds & test:
                origin = origins[fold(person.surname)]
                names.surnames[person.surname, origin] += 1
                names.alike[origin, feminine][first] += 1
    for country, table, feminine in listed_names():
        inflected = feminine and country in SOURCES["feminine"]
        most = sorted(table.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_LISTED]
        people = sum(number for _, number in most)
        for name, number in most:
            found[country].first[inflected][name] += LISTED * number / people
    return found


def listed_names() -> Iterator[tuple[str, Mapping[str, float], bool]]:
    """Yield tables of given names: the country, how many have each, and whether they are women."""
    for feminine in (False, True):
        for country, states in SOURCES["registered"].items():
            for state in states.split():
                yield country, registered_names(state, feminine), feminine
        for country, locales in SOURCES["given"].items():
            for locale in locales:
                yield country, faker_names(locale, feminine), feminine


def faker_names(locale: str, feminine: bool) -> Counter[str]:
    """Return the given names of a locale of Faker with their weights; 1 if it has none."""
    provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
    names = getattr(provider, f"first_names_{'fe' if feminine else ''}male")
    weights = names if isinstance(names, dict) else dict.fromkeys(names, 1)
    table: Counter[str] = Counter()
    for name, weight in weights.items():
        table[clean(name)] = max(weight, table[clean(name)])
    table.pop("", None)
    return table


def known_by(name: str) -> str:
    """Return what a full name is recognised by, in whatever order its words stand."""
    return " ".join(sorted(fold(word) for word in re.sub(r" \(.*", "", name).split()))


def made_up(
    given: dict[str, Given], surnames: Iterable[Row], real: set[str], number: int = PER_COUNTRY
) -> list[Row]:
    """Draw full names in a fixed order.

    Args:
        given: names of each country.
        surnames: rows of the training part, each drawn as often as it stands.
        real: what people's full names are known by; these are not made.
        number: of names of a country of `PEOPLE` people: `OF_PEOPLE` of them with surnames that
            people have, where these are known, the others with those of the rows. In another
            script `NATIVE` more.
    """
    draw = random.Random(SEED)
    pools: dict[tuple[str, bool, bool], Counter[str]] = defaultdict(Counter)
    for row in surnames:
        latin = script(row.name[0]) == "LATIN"
        pools[row.country, latin, is_feminine(row.name, row.country)][row.name] += row.times
    urns = {key: Urn(pool, 1, draw) for key, pool in pools.items()}
    made: Counter[tuple[str, str]] = Counter()
    for country, names in sorted(given.items()):
        people = names.surnames.total()
        total = round(number * (people / PEOPLE) ** GROWTH) if people >= FEWEST else number
        of_people = int(total * OF_PEOPLE) if people else 0
        second = Urn(names.second or {"": 1}, 1, draw)
        of_country = {key[1:]: urn for key, urn in urns.items() if key[0] == country}
        for first, surname in (
            *_of_rows(names, True, total - of_people, of_country, draw),
            *_of_rows(names, False, NATIVE, of_country, draw),
            *_of_people(names, of_people, country, draw),
        ):
            words = [first, second.draw() if script(first[0]) == "LATIN" else ""]
            name = _joined([word for word in words if word], surname, country, draw)
            if not {known_by(name), known_by(f"{first} {surname}")} & real:
                made[country, name] += 1
    return [Row(name, country, times) for (country, name), times in sorted(made.items())]


class Urn(Generic[T]):
    """Names to draw, with their counts to some power as weights."""

    def __init__(self, counts: Mapping[T, int], power: float, draw: random.Random) -> None:
        """Sum the weights up."""
        self.names, self.random = sorted(counts), draw
        self.sums = list(accumulate(counts[name] ** power for name in self.names))

    def draw(self) -> T:
        """Return one of the names."""
        return self.random.choices(self.names, cum_weights=self.sums)[0]


def _of_rows(
    names: Given,
    latin: bool,
    number: int,
    surnames: dict[tuple[bool, bool], Urn[str]],
    draw: random.Random,
) -> Iterator[tuple[str, str]]:
    firsts = {
        (name, feminine): count
        for feminine, counter in names.first.items()
        for name, count in counter.items()
        if (script(name[0]) == "LATIN") == latin
    }
    urn = Urn(firsts, POWER, draw)
    for _ in range(number if firsts else 0):
        first, feminine = urn.draw()
        surname = surnames.get((latin, feminine), surnames.get((latin, False)))
        if surname:
            yield first, surname.draw()


def _of_people(
    names: Given, number: int, country: str, draw: random.Random
) -> Iterator[tuple[str, str]]:
    urn = Urn(names.surnames, POWER, draw)
    alike = {
        key: Urn(firsts if firsts.total() >= LEAST else names.first[key[1]], POWER, draw)
        for key, firsts in names.alike.items()
    }
    for _ in range(number):
        surname, origin = urn.draw()
        yield alike[origin, is_feminine(surname, country)].draw(), surname


def _joined(words: list[str], surname: str, country: str, draw: random.Random) -> str:
    surname_first = draw.random() < SURNAME_FIRST.get(country, 0)
    alphabet = script(words[0][0])
    if alphabet not in ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "GEORGIAN", "ARABIC"):
        return draw.choice(["", " "]).join([surname, *words])
    name = " ".join([surname, *words] if surname_first else [*words, surname])
    return anyascii(name) if alphabet == "LATIN" and draw.random() < ASCII_SHARE else name
