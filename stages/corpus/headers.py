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
        fields = next(csv.reader([line], delimiter=separator))
    except csv.Error:
        fields = [line]
    return [field.strip() for field in fields]


def find_columns(header: list[str], where: str, params: IngestParams) -> Places | None:
    """Find names and countries in a header; None if the first row, ``header``, is not one.

    Raises:
        UserError: it reads like a header, but does not say which columns to read.
    """
    said, columns = brief(",".join(header)), params.columns
    unclear = UserError(f"{where}: the columns are {said}; set ingest.columns to two of them")
    if columns:
        if len({columns.name, columns.country} & {*header}) < 2:
            raise unclear
        return Places(header.index(columns.name), header.index(columns.country), len(header))
    kinds = [_kind(field) for field in header]
    if params.header != "no" and kinds.count("name") == kinds.count("country") == 1:
        if len(header) > 2:
            raise unclear
        return Places(kinds.index("name"), kinds.index("country"), 2)
    if params.header == "auto" and len(header) == 2 and any(kinds):
        raise UserError(f"{where}: {said} may be a header; set ingest.header to yes or no")
    for other in ";\t|,":
        if {"name", "country"} <= {*map(_kind, header[0].split(other))}:
            raise UserError(f"{where}: fields are separated by {other!r}; set ingest.separator")
    return None


def _kind(field: str) -> str:
    words = re.sub(r"[\s_-]+", " ", field.strip(' "').lower())
    return "name" if words in NAMES else "country" if words in COUNTRIES else ""
