"""Which fields of a row are its name and its country."""

import csv
import re
from typing import NamedTuple

from stages.core.errors import UserError, brief
from stages.core.params import IngestParams

NAMES = {"name", "names", "surname", "surnames", "last name", "lastname", "family name"}
COUNTRIES = {"country", "countries", "country of origin", "country name", "country of birth"}
COUNTRIES |= {"nationality", "nation", "origin", "birth country", "citizenship"}


class Places(NamedTuple):
    """Where in a row the name and the country stand, and how many fields it has."""

    name: int
    country: int
    fields: int


TWO_COLUMNS = Places(0, 1, 2)


def split_line(line: str, separator: str) -> list[str]:
    """Fields of one line of a CSV, without the blanks around them."""
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])] or [
            line
        ]
    except csv.Error:
        return [line]


def places_of(cells: list[str], where: str, params: IngestParams) -> tuple[Places, bool]:
    """Find names and countries by the first row, and whether it is a header.

    Args:
        cells: fields of that row.
        where: file and line, for errors.
        params: `columns` and `header` decide.

    Raises:
        UserError: the row reads like a header, but does not say what to read.
    """
    said, columns = brief(",".join(cells)), params.columns
    kinds = [_kind(cell) for cell in cells]
    if columns and len({columns.name, columns.country} & {*cells}) < 2:
        raise UserError(f"{where}: the columns are {said}; set ingest.columns to two of them")
    if columns:
        return Places(cells.index(columns.name), cells.index(columns.country), len(cells)), True
    if params.header != "no" and kinds.count("name") == kinds.count("country") == 1:
        if len(cells) > 2:
            raise UserError(f"{where}: the columns are {said}; set ingest.columns to two of them")
        return Places(kinds.index("name"), kinds.index("country"), 2), True
    if params.header == "auto" and len(cells) == 2 and any(kinds):
        raise UserError(f"{where}: {said} may be a header; set ingest.header to yes or no")
    for other in ";\t|,":
        if {"name", "country"} <= {*map(_kind, split_line(cells[0], other))}:
            raise UserError(f"{where}: fields are separated by {other!r}; set ingest.separator")
    return TWO_COLUMNS, params.header == "yes"


def _kind(cell: str) -> str:
    words = re.sub(r"[\s_-]+", " ", cell.strip(' "').lower())
    return "name" if words in NAMES else "country" if words in COUNTRIES else ""
