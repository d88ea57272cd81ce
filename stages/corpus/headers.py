"""Which fields of a row are its name and its country."""

import re

from stages.core.errors import UserError, brief
from stages.core.params import IngestParams
from stages.corpus.tables import Table

NAMES = {"name", "names", "surname", "surnames", "last name", "lastname", "family name"}
COUNTRIES = {"country", "countries", "country of origin", "country name", "country of birth"}
COUNTRIES |= {"nationality", "nation", "origin", "birth country", "citizenship"}


def find_columns(table: Table, params: IngestParams) -> list[int]:
    """Positions of names and countries; a first row that is no header is read as a row of two.

    Raises:
        UserError: it reads like a header, but does not say which columns to read.
    """
    header = [field.strip() for field in table.header]
    is_named = table.is_parquet or params.columns is not None
    where = table.file if table.is_parquet else f"{table.file}, line {table.first_line}"
    said = f"{where}: the columns are {brief(','.join(header))}"
    unclear = UserError(f"{said}; set ingest.columns to two of them")
    kinds = [_kind(field) for field in header]
    if wanted := params.columns:
        kinds = [{wanted.country: "country", wanted.name: "name"}.get(name, "") for name in header]
    is_header = is_named or params.header != "no"
    if is_header and kinds.count("name") == kinds.count("country") == 1:
        if len(header) > 2 and not is_named:
            raise unclear
        columns = [kinds.index("name"), kinds.index("country")]
        for column in columns:
            table.check_type(column)
        return columns
    words = {_kind(field) for field in re.split(r"[;\t|,]", header[0])}
    if (error := table.other_separator()) and words >= {"name", "country"}:
        raise error
    if is_named or (params.header == "yes" and len(header) < 2):
        raise unclear
    if params.header == "auto" and len(header) == 2 and any(kinds):
        raise UserError(f"{said}, which may be a header; set ingest.header to yes or no")
    if params.header != "yes":
        table.read_first_row(2)
    return [0, 1]


def _kind(field: str) -> str:
    words = re.sub(r"[\s_-]+", " ", field.strip(' "').lower())
    return "name" if words in NAMES else "country" if words in COUNTRIES else ""
