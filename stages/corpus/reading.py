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
        rows: name and country of the rows kept, as Arrow dictionaries.
        rejects: file, line and reason of the others.
        first_rows: the first row of a file, if it is kept but may be a header: its country, and
            file, line and text for a message.
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
    known_countries: frozenset[str] | None = None,
    tasks: Tasks | None = None,
    full: bool = False,
) -> Iterator[Chunk]:
    """`parse` all blocks of the files of ``source``, in their order; in ``tasks`` if given."""
    work = partial(parse, params=params, known_countries=known_countries, full=full)
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
    location = table.file if table.is_parquet else f"{table.file}, line {table.first_line}"
    message = f"{location}: the columns are {brief(','.join(header))}"
    unclear = UserError(f"{message}; set ingest.columns to two of them")
    meanings = [_meaning(field) for field in header]
    if params.columns:
        chosen = {params.columns.country: "country", params.columns.name: "name"}
        meanings = [chosen.get(field, "") for field in header]
    is_header = is_named or params.header != "no"
    if is_header and meanings.count("name") == meanings.count("country") == 1:
        if len(header) > 2 and not is_named:
            raise unclear
        columns = [meanings.index("name"), meanings.index("country")]
        for column in columns:
            table.check_type(column)
        return columns
    words = {_meaning(field) for field in re.split(r"[;\t|,]", header[0])}
    if (error := table.other_separator()) and words >= {"name", "country"}:
        raise error
    if is_named or (params.header == "yes" and len(header) < 2):
        raise unclear
    if params.header == "auto" and len(header) == 2 and any(meanings):
        raise UserError(f"{message}, which may be a header; set ingest.header to yes or no")
    if params.header != "yes":
        table.read_first_row(2)
    return [0, 1]


def _meaning(field: str) -> str:
    """``name`` or ``country`` if a header's field is a word for it, else nothing."""
    words = re.sub(r"[\s_-]+", " ", field.strip(' "').lower())
    return "name" if words in CORPUS_NAMES else "country" if words in COUNTRIES else ""


def parse(
    block: Block,
    params: IngestParams,
    known_countries: frozenset[str] | None = None,
    full: bool = False,
) -> Chunk:
    """Turn a block into clean rows and rejects.

    Args:
        block: names and countries of some rows of a file.
        params: how to clean them.
        known_countries: if given, rows of any other country are refused.
        full: whether the model is one of full names.

    Raises:
        UserError: a row is too long for a CSV.
    """
    (raw_names, raw_countries), reasons = split(block)
    is_longer = pc.equal(reasons, f"longer than {params.max_row_bytes} bytes")
    if (row := is_longer.index(True).as_py()) >= 0:
        raise too_long(block.file, int(block.lines[row]), block.format)
    usable = partial(usable_name, form=params.normalize, max_length=params.max_length, full=full)
    names, bad_names = _each_distinct(raw_names, usable)
    known = partial(_known_country, max_length=params.max_length, known_countries=known_countries)
    countries, bad_countries = _each_distinct(raw_countries, known)
    reasons = pc.coalesce(reasons, bad_names, bad_countries)
    is_kept = reasons.is_null()
    kept = [texts.filter(is_kept).dictionary_encode() for texts in (names, countries)]
    refused = pa.table([pa.array(block.lines), reasons], ["line", "reason"])
    rejects = refused.filter(pc.invert(is_kept)).to_pandas()
    rejects.insert(0, "file", block.file)
    first_rows = []
    if block.is_start and params.header == "auto" and is_kept[0].as_py():
        text = brief(f"{raw_names[0]},{raw_countries[0]}")
        first_rows = [(countries[0].as_py(), f"{block.file}, line {block.lines[0]}: {text}")]
    rows = pa.table(kept, ["name", "country"]).to_pandas(types_mapper=pd.ArrowDtype)
    return Chunk(rows, rejects, first_rows)


def _known_country(text: str, max_length: int, known_countries: frozenset[str] | None) -> str:
    country = clean_country(text, max_length)
    if known_countries is not None and country not in known_countries:
        raise Rejected("country not in the training data")
    return country


def _each_distinct(column: pa.Array, clean: Callable[[str], str]) -> tuple[pa.Array, pa.Array]:
    """``clean`` each distinct text once; null and the reason where it is refused."""

    def cleaned(text: str | None) -> tuple[str | None, str | None]:
        try:
            return clean(text or ""), None
        except Rejected as reason:
            return None, str(reason)

    encoded = column.cast(TEXT).dictionary_encode("encode")
    results = [cleaned(text) for text in encoded.dictionary.to_pylist()]
    texts, reasons = (pa.array([result[n] for result in results], TEXT) for n in (0, 1))
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
