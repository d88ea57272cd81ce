"""Blocks of rows as frames of clean names and countries, and of the rows refused.

Surnames repeat: a name is cleaned once, however often it stands in a block.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from stages.core.errors import UserError, brief
from stages.core.params import IngestParams
from stages.corpus.full_names import usable_name
from stages.corpus.headers import CORPUS_NAMES, COUNTRIES
from stages.corpus.normalize import Rejected, clean_country
from stages.corpus.rows import TEXT, Block, Format, split, too_long
from stages.corpus.sources import files_of
from stages.corpus.tables import Table
from stages.corpus.tasks import Tasks


class Chunk(NamedTuple):
    """Some rows of one file, in its order.

    Attributes:
        rows: the rows kept: name and country, as Arrow dictionaries of what stands in them.
        rejects: the others: file, line and reason.
        first_rows: country, and place and text, of the first row of a file that may be a header.
    """

    rows: pd.DataFrame
    rejects: pd.DataFrame
    first_rows: list[tuple[str, str]]


def format_of(params: IngestParams) -> Format:
    """How the files of a corpus are written."""
    return Format(params.separator, params.encoding, params.max_row_bytes, "ingest.")


def read(
    source: str,
    params: IngestParams,
    countries: frozenset[str] | None = None,
    tasks: Tasks | None = None,
    full: bool = False,
) -> Iterator[Chunk]:
    """`parse` all blocks of the files of ``source``, in their order; in ``tasks`` if given."""
    work = partial(parse, params=params, countries=countries, full=full)
    return (tasks.map if tasks else map)(work, _blocks(source, params))


def _blocks(source: str, params: IngestParams) -> Iterator[Block]:
    for file in files_of(source, "set ingest.train and ingest.test"):
        table = Table(file, format_of(params))
        if table.header:
            yield from table.blocks(find_columns(table, params))


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
    return "name" if words in CORPUS_NAMES else "country" if words in COUNTRIES else ""


def parse(
    block: Block,
    params: IngestParams,
    countries: frozenset[str] | None = None,
    full: bool = False,
) -> Chunk:
    """Turn a block into clean rows and rejects.

    Args:
        block: names and countries of some rows of a file.
        params: how to clean them.
        countries: if given, rows of any other country are refused.
        full: whether the model is one of full names.

    Raises:
        UserError: a row is too long for a CSV.
    """
    (names, homes), reasons = split(block)
    is_longer = pc.equal(reasons, f"longer than {params.max_row_bytes} bytes")
    if (row := is_longer.index(True).as_py()) >= 0:
        raise too_long(block.file, int(block.lines[row]), block.format)
    first_row = ""
    if block.is_start and params.header == "auto":
        first_row = f"{block.file}, line {block.lines[0]}: {brief(f'{names[0]},{homes[0]}')}"

    def usable_country(text: str) -> str:
        country = clean_country(text, params.max_length)
        if countries is not None and country not in countries:
            raise Rejected("country not in the training data")
        return country

    usable = partial(usable_name, form=params.normalize, max_length=params.max_length, full=full)
    names, bad_names = _each_distinct(names, usable)
    homes, bad_countries = _each_distinct(homes, usable_country)
    reasons = pc.coalesce(reasons, bad_names, bad_countries)
    good = reasons.is_null()
    kept = (texts.filter(good).dictionary_encode() for texts in (names, homes))
    rows = pa.table([*kept], ["name", "country"])
    rejects = pa.table([pa.array(block.lines), reasons], ["line", "reason"]).filter(pc.invert(good))
    frame = rejects.to_pandas()
    frame.insert(0, "file", block.file)
    return Chunk(
        rows.to_pandas(types_mapper=pd.ArrowDtype),
        frame,
        [(homes[0].as_py(), first_row)] if first_row and good[0].as_py() else [],
    )


def _each_distinct(column: pa.Array, mend: Callable[[str], str]) -> tuple[pa.Array, pa.Array]:
    """``mend`` each distinct text once; null and the reason where it is refused."""

    def mended(text: str | None) -> tuple[str | None, str | None]:
        try:
            return mend(text or ""), None
        except Rejected as reason:
            return None, str(reason)

    encoded = column.cast(TEXT).dictionary_encode("encode")
    answers = [mended(text) for text in encoded.dictionary.to_pylist()]
    texts, reasons = (pa.array([answer[n] for answer in answers], TEXT) for n in (0, 1))
    return texts.take(encoded.indices), reasons.take(encoded.indices)


def check_countries(rows: Counter[str], first_rows: list[tuple[str, str]]) -> None:
    """Refuse countries of a training file that nobody meant.

    A first row whose country stands nowhere else is refused, not skipped: it may be a person from a
    rare country.

    Args:
        rows: country -> number of its rows.
        first_rows: those of all chunks.

    Raises:
        UserError: a first row may be a header, two countries differ in case or blanks only, or
            there is but one.
    """
    first = Counter(country for country, _ in first_rows)
    for country, text in first_rows:
        if rows[country] == first[country] and rows.total() > first.total():
            raise UserError(
                f"{text} may be a header: its country stands in no other row; set "
                "ingest.header to yes or no"
            )
    spelled: dict[str, str] = {}
    for country in sorted(rows):
        other = spelled.setdefault("".join(country.casefold().split()), country)
        if other != country:
            pair = " and ".join(f"{name!r} ({rows[name]} rows)" for name in (other, country))
            raise UserError(f"countries {pair} differ in case or blanks only; spell them alike")
    if len(rows) == 1:
        raise UserError(f"all {rows.total()} rows are of one country, {country!r}; add others")
