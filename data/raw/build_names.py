"""Build the embedded corpus: surnames out of three packages, as two gzip CSVs.

    python data/raw/build_names.py [--output DIR]

It reads nothing but the packages' own data: no network, no random numbers. The same pinned
packages give the same bytes. README.md beside this file says what the corpus is good for.

Each name stands in its own script and, where that differs, in plain Latin letters, so that a
model answers Müller, Muller, Иванов, Ivanov, 佐藤 and Sato alike. All spellings of a name are in
one file.
"""

import argparse
import csv
import gzip
import hashlib
import importlib
import io
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from anyascii import anyascii

from stages.core.errors import UserError, exit_code
from stages.core.files import atomic_path
from stages.corpus.normalize import script

# Another version has other lists, and with them other bytes.
PINNED = {
    "Faker": "40.54.0",
    "mimesis": "22.2.0",
    "japanese-personal-name-dataset": "0.4.0",
    "anyascii": "0.3.3",
}
NAMES_PER_COUNTRY = 1500
LONGEST = 20
MOST_BLANKS = 2
TEST_SHARE = 3  # every third group


class Source(Protocol):
    """One list of one package."""

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield each name as it is listed, with its romaji if the list has it, else ""."""


@dataclass(frozen=True)
class Faker:
    """A list of Faker's person provider, or those of its names that match ``only``."""

    locale: str
    key: str = "last_names"
    only: str = ""

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield the names; Faker keeps them in tuples, or as the keys of a dict of weights."""
        provider = importlib.import_module(f"faker.providers.person.{self.locale}").Provider
        for name in getattr(provider, self.key):
            if re.match(self.only, name):
                yield name, ""


@dataclass(frozen=True)
class Mimesis:
    """The surnames in a locale of mimesis, of one gender where it tells them apart."""

    locale: str
    gender: str = ""

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield the names of the locale's person.json."""
        data = files("mimesis") / "datasets" / self.locale / "person.json"
        names = json.loads(data.read_text(encoding="utf-8"))["surnames"]
        for name in names[self.gender] if self.gender else names:
            yield name, ""


@dataclass(frozen=True)
class JapaneseDataset:
    """Kanji and romaji of japanese-personal-name-dataset, without its population counts."""

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield kanji and romaji; long vowels are written out (Satou)."""
        package = importlib.import_module("japanese_personal_name_dataset")
        *_, surnames = package.load_dataset("org", include_last_names=True)
        for kanji, entry in surnames.items():
            yield kanji, entry["en"]


@dataclass(frozen=True)
class FakerJapanese:
    """Kanji and romaji of Faker's Japanese provider."""

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield kanji and romaji; long vowels are as in passports (Sato)."""
        provider = importlib.import_module("faker.providers.person.ja_JP").Provider
        for kanji, _, romaji in provider.last_name_pairs:
            yield kanji, romaji


@dataclass(frozen=True)
class Lists:
    """Where a country's names come from.

    ``core`` lists are taken whole. ``wide`` ones hold many neighbours' names: what stands in
    another country's core lists is left out.
    """

    core: tuple[Source, ...]
    wide: tuple[Source, ...] = ()


_ARAB_STATES = ("ae", "dz", "eg", "jo", "kw", "ma", "om", "qa", "sa", "sy", "tn", "ye")
# A capital must follow: MacCann and O'Brien, but not Mackey.
_IRISH_PREFIX = "(?:O'|Mc|Mac ?)[A-Z]"

# Left out on purpose: mimesis ar (templates: one stem under many prefixes), pt-br (Italian by two
# fifths), de-ch (four languages), en-* (one American list under several names); Faker en and ar_AA.
SOURCES: dict[str, Lists] = {
    "Arabic": Lists(
        core=(
            Faker("fr_DZ"),
            *(Mimesis(f"ar-{state}") for state in _ARAB_STATES),
            Faker("ar_DZ"),
            Faker("ar_PS"),
            Faker("ar_SA"),
        )
    ),
    "Chinese": Lists(
        core=(
            Mimesis("zh"),
            Faker("zh_CN"),
            Faker("zh_CN", "last_romanized_names"),
            Faker("zh_TW", "last_romanized_names"),
        )
    ),
    "Czech": Lists(core=(Mimesis("cs"), Faker("cs_CZ", "last_names_male"))),
    "Dutch": Lists(
        core=(Faker("nl_NL"), Mimesis("nl-be")),
        wide=(Mimesis("nl"), Faker("nl_BE")),
    ),
    "English": Lists(core=(Faker("en_GB"),), wide=(Faker("en_US"), Faker("en_NZ"))),
    "Finnish": Lists(core=(Mimesis("fi"),), wide=(Faker("fi_FI"),)),
    "French": Lists(
        core=(Faker("fr_FR"),),
        wide=(Faker("fr_CA"), Faker("fr_BE"), Faker("fr_CH"), Mimesis("fr")),
    ),
    "German": Lists(
        core=(Faker("de_DE"), Mimesis("de")),
        wide=(Faker("de_AT"), Faker("de_CH"), Mimesis("de-at")),
    ),
    "Greek": Lists(core=(Faker("el_GR", "last_names_male"), Mimesis("el", "male"))),
    "Hungarian": Lists(core=(Mimesis("hu"), Faker("hu_HU"))),
    "Irish": Lists(core=(Faker("ga_IE"), Faker("en_IE", only=_IRISH_PREFIX))),
    "Italian": Lists(core=(Faker("it_IT"),), wide=(Mimesis("it"),)),
    "Japanese": Lists(core=(JapaneseDataset(), FakerJapanese())),
    "Korean": Lists(core=(Mimesis("ko"), Faker("ko_KR"))),
    "Polish": Lists(
        core=(Mimesis("pl", "male"), Faker("pl_PL", "male_last_names")),
        wide=(Faker("pl_PL", "unisex_last_names"),),
    ),
    "Portuguese": Lists(core=(Faker("pt_PT"), Mimesis("pt")), wide=(Faker("pt_BR"),)),
    "Russian": Lists(core=(Mimesis("ru", "male"), Faker("ru_RU", "last_names_male"))),
    "Spanish": Lists(
        core=(Faker("es_ES"), Mimesis("es")),
        wide=(
            Faker("es_AR"),
            Faker("es_CL"),
            Faker("es_CO"),
            Faker("es_MX"),
            Mimesis("es-mx"),
        ),
    ),
    "Swedish": Lists(core=(Faker("sv_SE"), Mimesis("sv"))),
    "Turkish": Lists(core=(Faker("tr_TR"), Mimesis("tr"))),
    "Ukrainian": Lists(core=(Faker("uk_UA", "last_names_male"), Mimesis("uk", "male"))),
}


@dataclass(frozen=True)
class Surname:
    """A name of one country: as listed, its romanised spellings, and how many lists have it."""

    country: str
    name: str
    romanised: frozenset[str]
    lists: int

    @property
    def folds(self) -> set[str]:
        """What the name is recognised by, however it is written."""
        return {fold(spelling) for spelling in (self.name, *self.romanised)}


@dataclass(frozen=True)
class Row:
    """A line of the corpus; ``romanised`` is for the counts, the files do not tell."""

    name: str
    country: str
    romanised: bool


# ---- clean

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼʻ′´`", "'"))
_TRAILING = " '-.,;:"
# Not surnames, though the lists have them.
_PLACEHOLDERS = {
    *("doe", "name", "surname", "unknown", "dussen van"),
    *("koch ii", "the elder", "vi", "xx"),
}


def clean(text: str) -> str:
    """Return a listed name in its one spelling here, or "" if it is no usable surname.

    Particles in front go (van Lennep -> Lennep): lists differ in whether they have them.
    """
    words = unicodedata.normalize("NFC", text.translate(_APOSTROPHES)).split()
    while len(words) > 1 and words[0].lstrip("'")[:1].islower():
        words.pop(0)
    name = " ".join(words).rstrip(_TRAILING)
    # Lists in one case (CHEN, satou) would otherwise be told by it.
    if name.isascii() and (name.isupper() or name.islower()):
        name = name.title()
    return name if _is_usable(name) else ""


def _is_usable(name: str) -> bool:
    return (
        name[:1].isalpha()
        and len(name) <= LONGEST
        and name.count(" ") <= MOST_BLANKS
        and all(c in " '-" or unicodedata.category(c)[0] in "LM" for c in name)
        and name.lower() not in _PLACEHOLDERS
        and fold(name) != ""
    )


def fold(name: str) -> str:
    """Reduce a name to lower-case a to z: Müller and Muller, Иванов and Ivanov are one."""
    return re.sub("[^a-z]", "", anyascii(name).lower())


# ---- select

Listing = dict[str, set[str]]  # the names of one list, each with the romaji that the list gives


def read(source: Source) -> Listing:
    """Read one list and clean it."""
    listing: Listing = defaultdict(set)
    for listed, romaji in source.read():
        if name := clean(listed):
            listing[name] |= {clean(romaji)} - {""}
    return dict(listing)


def select(sources: dict[str, Lists]) -> list[Surname]:
    """Merge the lists of each country, the wide ones without other countries' core names."""
    core = {country: [read(s) for s in lists.core] for country, lists in sources.items()}
    core_folds = {
        # A kanji name is known abroad by its romaji, not by what anyascii reads as Chinese.
        country: {
            fold(spelling)
            for listing in listings
            for name, given in listing.items()
            for spelling in given or {name}
        }
        for country, listings in core.items()
    }
    selected = []
    for country, lists in sources.items():
        foreign = set().union(*(folds for other, folds in core_folds.items() if other != country))
        wide = [
            {name: given for name, given in read(source).items() if fold(name) not in foreign}
            for source in lists.wide
        ]
        times: Counter[str] = Counter()
        romaji: Listing = defaultdict(set)
        for listing in core[country] + wide:
            times.update(listing.keys())
            for name, given in listing.items():
                romaji[name] |= given
        selected += [
            Surname(country, name, romanise(name, romaji[name]), times[name]) for name in times
        ]
    return selected


# ---- romanise


def romanise(name: str, given: Iterable[str] = ()) -> frozenset[str]:
    """Return a name's spellings in ASCII, other than its own: those given, or else anyascii's.

    anyascii reads kanji as Chinese, so Japanese lists must give theirs. Arabic has none: its
    script leaves out the vowels, and what nobody would write (Mhmd) is not worth learning.
    """
    if script(name[0]) == "ARABIC":
        return frozenset()
    spellings = set(given)
    if not spellings:
        latin = anyascii(name)
        # Where a script has no capitals, anyascii begins every syllable with one: OuYang.
        is_caseless = name.lower() == name.upper()
        spellings = {clean(latin.capitalize() if is_caseless else latin)}
    return frozenset(spellings - {"", name})


# ---- cap


def digest(text: str) -> str:
    """Return a fixed but arbitrary sort key: the draw that needs no random generator."""
    return hashlib.sha256(text.encode()).hexdigest()


def cap(surnames: Iterable[Surname], most: int = NAMES_PER_COUNTRY) -> list[Surname]:
    """Keep so many names per country: those in several lists, then an arbitrary sample."""
    by_country: dict[str, list[Surname]] = defaultdict(list)
    for surname in surnames:
        by_country[surname.country].append(surname)
    kept = []
    for names in by_country.values():
        kept += sorted(names, key=lambda s: (s.lists < 2, digest(s.name)))[:most]
    return kept


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
    """Divide into train and test: within each country every third group is test.

    A group of several countries counts for the rarest of them, which needs it most.
    """
    surnames = list(surnames)
    size = Counter(surname.country for surname in surnames)
    groups = group(surnames)
    by_country: dict[str, list[str]] = defaultdict(list)
    for name, members in groups.items():
        rarest = min({s.country for s in members}, key=lambda country: (size[country], country))
        by_country[rarest].append(name)
    train: list[Surname] = []
    test: list[Surname] = []
    for names in by_country.values():
        for place, name in enumerate(sorted(names, key=digest), start=1):
            (test if place % TEST_SHARE == 0 else train).extend(groups[name])
    return train, test


# ---- write


def rows(surnames: Iterable[Surname]) -> list[Row]:
    """Write out all spellings, one row per name and country, in a fixed order."""
    surnames = list(surnames)
    listed = {(s.country, s.name) for s in surnames}
    spelled = {(s.country, spelling) for s in surnames for spelling in s.romanised}
    return [
        Row(name, country, (country, name) not in listed)
        for country, name in sorted(listed | spelled)
    ]


def packed(content: Iterable[Row]) -> bytes:
    """Return the rows as a gzip CSV whose header has neither time nor file name."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows((row.name, row.country) for row in content)
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(text.getvalue().encode())
    return buffer.getvalue()


def table(train: list[Row], test: list[Row]) -> str:
    """Return the counts per country as a table for README.md."""

    def cells(content: list[Row]) -> str:
        added = sum(row.romanised for row in content)
        return f"{len(content) - added:,} | {added:,}"

    lines = [
        "| country | train: listed | romanised | test: listed | romanised |",
        "|---|--:|--:|--:|--:|",
    ]
    for country in sorted({row.country for row in train + test}):
        parts = ([row for row in part if row.country == country] for part in (train, test))
        lines.append(f"| {country} | {' | '.join(map(cells, parts))} |")
    lines.append(f"| all | {cells(train)} | {cells(test)} |")
    return "\n".join(lines)


def check_versions() -> None:
    """Refuse to build from other packages than the pinned ones.

    Raises:
        UserError: one is missing or has another version.
    """
    for package, wanted in PINNED.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            raise UserError(
                f"{package} is {found}, the corpus needs {wanted}: install the `corpus` extra"
            )


def build() -> tuple[list[Row], list[Row]]:
    """Make the rows of train and test from the installed packages."""
    check_versions()
    train, test = split(cap(select(SOURCES)))
    return rows(train), rows(test)


def main() -> None:
    """Build the corpus and print its counts."""
    parser = argparse.ArgumentParser(description="Build the embedded corpus of surnames.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="DIR")
    folder: Path = parser.parse_args().output
    train, test = build()
    for part, content in (("train", train), ("test", test)):
        with atomic_path(folder / f"names_{part}.csv.gz") as path:
            path.write_bytes(packed(content))
    print(table(train, test))


if __name__ == "__main__":
    sys.exit(exit_code(main))
