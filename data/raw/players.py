"""The chess players of FIDE's rating list: people of the countries that name2nat lacks.

The Debian package scid-rating-data has the list of April 2021. It writes names without accents, the
surname before a comma. No full name leaves this module and full_names.py.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from name_spelling import SOURCES, clean
from people_counts import LETTERS, PARTICLES, Person

LIST = "./usr/share/scid/data/spelling.ssp"
TWO_SURNAMES = set(SOURCES["federations"].get("Spanish", "").split())
_PLAYER = re.compile(r"([^\W\d_][^,#]*), ([^\W\d_][^,#]*?)\d* *#\S+ +([A-Z]{3}) ")


def players(package: Path) -> Iterator[Person]:
    """Yield the players of the list in a .deb who have a usable surname."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as deb:
        untar = ["tar", "--extract", "--to-stdout", LIST]
        text = subprocess.run(untar, stdin=deb.stdout, check=True, stdout=subprocess.PIPE).stdout
    return parsed(text.decode("latin-1"))


def parsed(text: str) -> Iterator[Person]:
    """Yield the players of the list's text who have a usable surname."""
    for line in text.splitlines():
        if found := _PLAYER.match(line):
            family, given, federation = found.groups()
            surname = first_surname(family.split(" "), federation in TWO_SURNAMES)
            if len(surname) > 1 and LETTERS.fullmatch(surname):
                yield Person(given, surname, federation, f"{given} {surname}")


def first_surname(words: Sequence[str], several: bool) -> str:
    """Return a surname with its particles, "" if it has another after it.

    Args:
        words: of what stands before the comma.
        several: whether people of the federation have two surnames, the first of which counts.
    """
    start = next((i for i, word in enumerate(words) if word.lower() not in PARTICLES), 0)
    one = several or len(words) == start + 1
    return clean(" ".join(words[: start + 1]), particles=True) if one else ""
