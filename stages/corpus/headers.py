"""Which fields of a row are its name and its country."""

import re

from stages.core.errors import UserError, brief
from stages.core.params import IngestParams
from stages.corpus.rows import is_text
from stages.corpus.tables import Table

NAMES = {"name", "names", "surname", "surnames", "last name", "lastname", "family name"}
COUNTRIES = {"country", "countries", "country of origin", "country name", "country of birth"}
COUNTRIES |= {"nationality", "nation", "origin", "birth country", "citizenship"}


def find_columns(table: Table, params: IngestParams) -> tuple[list[int], bool]:
    """Positions of names and countries, and whether the first row is a header.

    Raises:
        UserError: it reads like a header, but does not say which columns to read.
    """
    header = [field.strip() for field in table.header]
    said, columns = brief(",".join(header)), params.columns
    where = table.file if table.is_parquet else f"{table.file}, line {table.header_line}"
    unclear = UserError(f"{where}: the columns are {said}; set ingest.columns to two of them")
    if columns:
        if len({columns.name, columns.country} & {*header}) < 2:
            raise unclear
        return _text_columns(table, header.index(columns.name), header.index(columns.country))
    kinds = [_kind(field) for field in header]
    may_be_header = table.is_parquet or params.header != "no"
    if may_be_header and kinds.count("name") == kinds.count("country") == 1:
        if len(header) > 2 and not table.is_parquet:
            raise unclear
        return _text_columns(table, kinds.index("name"), kinds.index("country"))
    if table.is_parquet:
        raise unclear
    if params.header == "auto" and len(header) == 2 and any(kinds):
        raise UserError(f"{where}: {said} may be a header; set ingest.header to yes or no")
    for other in ";\t|,":
        if {"name", "country"} <= {*map(_kind, header[0].split(other))}:
            raise UserError(f"{where}: fields are separated by {other!r}; set ingest.separator")
    return [0, 1], params.header == "yes"


def _text_columns(table: Table, *columns: int) -> tuple[list[int], bool]:
    for column in columns:
        name, kind = table.schema.names[column], table.schema.types[column]
        if not is_text(kind):
            where = f"{table.file}: {brief(name)}"
            raise UserError(f"{where}: is {brief(kind)}, not text; set ingest.columns")
    return [*columns], True


def _kind(field: str) -> str:
    words = re.sub(r"[\s_-]+", " ", field.strip(' "').lower())
    return "name" if words in NAMES else "country" if words in COUNTRIES else ""
