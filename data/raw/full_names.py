"""Full names that nobody in name2nat has: given names of a country with surnames of that country.

Given names are counted in name2nat by their first word, with the words that follow it apart, or
come from the lists of `given` in sources.toml. A name is drawn by its count to the power of .75,
so that rare ones occur; the seed is fixed.
"""

import importlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from anyascii import anyascii
from name_rows import Row
from name_spelling import SOURCES, clean, fold
from people_counts import Person, is_held_out, label_of

from stages.corpus.normalize import script

PER_COUNTRY = 3000
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
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*|[A-Z]\.")


@dataclass
class Given:
    """The given names of a country: first words by gender of the surname, and further words."""

    first: dict[bool, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    second: Counter[str] = field(default_factory=Counter)


def is_feminine(surname: str, country: str) -> bool:
    """Say whether a surname has a feminine form of its country."""
    return any(
        re.search(f"{end}$", fold(surname)) for end, _ in SOURCES["feminine"].get(country, [])
    )


def given_names(people: Iterable[Person], scored: set[str]) -> dict[str, Given]:
    """Count the given names of the people who are neither held out nor in people.toml.

    Args:
        people: of name2nat.
        scored: what the people of people.toml are known by.
    """
    found: dict[str, Given] = defaultdict(Given)
    for person in people:
        country = label_of(person.nationality)
        if country[0] == "~" or is_held_out(person.full) or known_by(person.full) in scored:
            continue
        first, *more = person.given.split()
        if len(first) > 1 and all(map(_WORD.fullmatch, (first, *more))):
            found[country].first[is_feminine(person.surname, country)][first] += 1
            found[country].second.update(more[:1] or [""])
    for country, locales in SOURCES["given"].items():
        for locale in locales:
            provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
            for feminine in (False, True):
                gender = "female" if feminine else "male"
                names = {clean(name) for name in getattr(provider, f"first_names_{gender}")} - {""}
                inflected = feminine and country in SOURCES["feminine"]
                found[country].first[inflected].update(dict.fromkeys(names, 3))
    return found


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
        number: of names of each country, of each script about a tenth as many.
    """
    draw = random.Random(SEED)
    pools: dict[tuple[str, bool, bool], Counter[str]] = defaultdict(Counter)
    for row in surnames:
        latin = script(row.name[0]) == "LATIN"
        pools[row.country, latin, is_feminine(row.name, row.country)][row.name] += row.times
    made: Counter[tuple[str, str]] = Counter()
    for country in sorted(given):
        for latin in (True, False):
            for first, second, feminine in _draws(given[country], latin, number, draw):
                pool = pools[country, latin, feminine] or pools[country, latin, False]
                if not pool:
                    continue
                surname = draw.choices(list(pool), pool.values())[0]
                name = _joined(first, second, surname, country, draw)
                if not {known_by(name), known_by(f"{first} {surname}")} & real:
                    made[country, name] += 1
    return [Row(name, country, times) for (country, name), times in sorted(made.items())]


def _draws(
    given: Given, latin: bool, number: int, draw: random.Random
) -> Iterator[tuple[str, str, bool]]:
    choices = {
        (name, feminine): count**POWER
        for feminine, names in sorted(given.first.items())
        for name, count in sorted(names.items())
        if (script(name[0]) == "LATIN") == latin
    }
    if not choices:
        return
    number = number if latin else NATIVE
    seconds = sorted(given.second.items()) if latin else []
    names = draw.choices(list(choices), choices.values(), k=number)
    more = draw.choices(*zip(*seconds, strict=True), k=number) if seconds else [""] * number
    for (first, feminine), second in zip(names, more, strict=True):
        yield first, second, feminine


def _joined(first: str, second: str, surname: str, country: str, draw: random.Random) -> str:
    words = [first, second] if second else [first]
    surname_first = draw.random() < SURNAME_FIRST.get(country, 0)
    if script(first[0]) not in ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "GEORGIAN", "ARABIC"):
        return draw.choice(["", " "]).join([surname, *words])
    name = " ".join([surname, *words] if surname_first else [*words, surname])
    return anyascii(name) if script(first[0]) == "LATIN" and draw.random() < ASCII_SHARE else name
