"""How many people have a name: counted in name2nat.

name2nat's wheel holds the full names of a million people of English Wikipedia with their
nationalities. Here they are divided into given name and surname, some are held out to score models,
and the others are counted. No full name leaves this module.
"""

import hashlib
import io
import pickle
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from name_spelling import SOURCES, clean, fold

HELD_OUT = 15  # one person in so many, by a hash of the full name
PERSONS = 100  # at most that many of a country are scored
# Nations whose names stand in both orders in English Wikipedia: is the surname mostly first?
SURNAME_FIRST = {
    "Chinese": True,
    "Japanese": False,
    "Korean": True,
    "Taiwanese": True,
    "Vietnamese": True,
}
CLEARLY = 5  # times as many people have one of two words as surname: it is the surname
FOREIGN = 20  # times as many people elsewhere have a word as given name: it is no surname

_PARTICLES = (
    "abu al ben bin d da das de del della den der des di do dos du e el ibn la le lo mac mc st ten"
    " ter van vander von y zu"
)
PARTICLES = set(_PARTICLES.split())
_NO_SURNAME = {"and", "of", "the"}
_SUFFIXES = {"jr", "jr.", "sr", "sr.", "ii", "iii", "iv"}
LETTERS = re.compile(r"[^\W\d_]+(?:[ '’\-][^\W\d_]+)*")


class Person(NamedTuple):
    """Someone of name2nat."""

    given: str
    surname: str
    nationality: str
    full: str


class PlainUnpickler(pickle.Unpickler):
    """A reader of dicts, lists and strings that refuses every global, so that it runs no code."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse a class or function.

        Raises:
            UnpicklingError: always.
        """
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


def load(wheel: Path) -> dict[str, list[str]]:
    """Read the nationalities by full name out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        pickled = archive.read("name2nat/name2nats.pkl")
    table: dict[str, list[str]] = PlainUnpickler(io.BytesIO(pickled)).load()
    return table


def words_of(full: str) -> list[str]:
    """Return the words of a title of Wikipedia; none if it has no surname (Joan II of Navarre)."""
    words = re.sub(r"\s*\(.*?\)", "", full).split(",")[0].split()
    words = [word for word in words if word.lower() not in _SUFFIXES]
    return words if len(words) > 1 and _NO_SURNAME.isdisjoint(words) else []


class Orders:
    """Where the surnames of nations of `SURNAME_FIRST` stand: mostly at one end of a full name.

    A name is in the other order if the word at its other end is a surname of the nation, of far
    more people than the word at the usual end (Danny Choi, Miyamoto Musashi), or if the latter is a
    common given name of other nations (James Soong).
    """

    def __init__(self, titles: Iterable[tuple[list[str], list[str]]]) -> None:
        """Count words at either end, and given names, by the words and nationalities of people."""
        self.surnames: Counter[tuple[str, str]] = Counter()
        self.others: Counter[tuple[str, str]] = Counter()
        self.given: Counter[str] = Counter()  # of nations with one order
        for words, nationalities in titles:
            for nationality in nationalities:
                if nationality in SURNAME_FIRST:
                    usual, other = self._ends(words, nationality)
                    self.surnames[usual] += 1
                    self.others[other] += 1
                else:
                    self.given[fold(words[0])] += 1

    def surname_first(self, words: list[str], nationality: str) -> bool | None:
        """Say whether the first of the words is the surname.

        Returns:
            None if it stands between given names (Joseph Nguyễn Chí Linh).
        """
        if nationality not in SURNAME_FIRST:
            return False
        first = SURNAME_FIRST[nationality]
        usual, other = self._ends(words, nationality)
        people = self.surnames[other]
        if people > self.others[other] and people >= CLEARLY * self.surnames[usual]:
            return not first
        if first and self.given[usual[1]] >= FOREIGN * self.surnames[usual]:
            second = self.surnames[nationality, fold(words[1])]
            return None if second > people else False
        return first

    @staticmethod
    def _ends(words: list[str], nationality: str) -> tuple[tuple[str, str], tuple[str, str]]:
        ends = (nationality, fold(words[0])), (nationality, fold(words[-1]))
        return ends if SURNAME_FIRST[nationality] else ends[::-1]


def divide(words: list[str], surname_first: bool) -> tuple[str, str]:
    """Part the words of a full name into given names and surname."""
    if surname_first:
        return " ".join(words[1:]), words[0]
    start = len(words) - 1
    while start > 1 and words[start - 1].lower() in PARTICLES:
        start -= 1
    return " ".join(words[:start]), " ".join(words[start:])


def persons(table: dict[str, list[str]]) -> Iterator[Person]:
    """Yield the people of one or two nationalities who have a usable surname, once for each."""
    titles = {full: words for full in table if (words := words_of(full))}
    orders = Orders((words, table[full]) for full, words in titles.items())
    for full, words in titles.items():
        for nationality in table[full] if len(table[full]) <= 2 else ():
            if (first := orders.surname_first(words, nationality)) is None:
                continue
            given, surname = divide(words, first)
            proper = surname[:1].isupper() or surname.split(" ")[0].lower() in PARTICLES
            if len(surname) > 1 and proper and LETTERS.fullmatch(surname):
                surname = clean(surname, particles=True)
                if len(surname) > 1:
                    yield Person(given, surname, nationality, full)


def label_of(nationality: str) -> str:
    """Return the country of a nationality; ~ marks those of none."""
    return _LABELS.get(nationality, f"~{nationality}")


_LABELS = {
    word: label for label, words in SOURCES["nationalities"].items() for word in words.split()
}


def is_held_out(full: str) -> bool:
    """Say whether a person is scored and therefore not counted."""
    return _hash(full) % HELD_OUT == 0


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def held_out(people: Iterable[Person]) -> list[Person]:
    """Return the people to score: of one country each, at most `PERSONS` of it."""
    by_name: dict[str, dict[str, Person]] = defaultdict(dict)
    for person in people:
        if is_held_out(person.full):
            by_name[person.full][label_of(person.nationality)] = person
    sizes: Counter[str] = Counter()
    chosen = []
    for full in sorted(by_name, key=_hash):
        for label, person in by_name[full].items():
            if label[0] != "~" and sizes[label] < PERSONS:
                sizes[label] += 1
                chosen.append(person)
    return chosen


@dataclass
class Counts:
    """People by name: ``people[fold][country]``, and how each name is usually written."""

    people: dict[str, dict[str, float]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(float))
    )
    spellings: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sizes: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # all people

    def add(self, surname: str, country: str, number: float = 1, known: float = 1) -> None:
        """Add people of a surname.

        Args:
            surname: as it is written.
            country: of the people, or a nation without a label.
            number: of people.
            known: share of all people of the source whose surnames it has.
        """
        self.people[fold(surname)][country] += number
        self.sizes[country] += number / known
        self.spellings[fold(surname)][surname] += number

    def take_out(self, names: Iterable[tuple[str, str]]) -> None:
        """Take one person of each surname and country out, where there is one."""
        for surname, country in names:
            if self.people[fold(surname)][country] > 0:
                self.people[fold(surname)][country] -= 1

    def owners(self, share: float, least: int = 300) -> dict[str, dict[str, float]]:
        """Return each name's countries and people, where its rate is near its highest of all.

        Nations without a label do not count: they would take names from the label that is nearest.

        Args:
            share: of the highest rate that a country's rate must have.
            least: people of a country whose rates count.
        """
        owners = {}
        for key, by_label in self.people.items():
            rates = {
                c: k / self.sizes[c]
                for c, k in by_label.items()
                if c[0] != "~" and k > 0 and self.sizes[c] >= least
            }
            floor = share * max(rates.values(), default=0)
            owners[key] = {c: by_label[c] for c, rate in rates.items() if rate >= floor}
        return owners

    def origins(self) -> dict[str, str]:
        """Return the nation that has each name most often for its size."""
        return {
            key: max(sorted(by_label), key=lambda c: by_label[c] / max(self.sizes[c], 300))
            for key, by_label in self.people.items()
            if by_label
        }


def count(people: Iterable[Person], scored: Iterable[tuple[str, str]]) -> Counts:
    """Count the people who are not held out, without those of people.toml.

    Args:
        people: of name2nat.
        scored: surname and country of the people of people.toml.
    """
    counts = Counts()
    for person in people:
        if not is_held_out(person.full):
            counts.add(person.surname, label_of(person.nationality))
    counts.take_out(set(scored))
    return counts
