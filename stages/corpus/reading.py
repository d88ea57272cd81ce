"""Blocks of rows as pandas frames of clean names and countries, and of the rows refused.

Surnames repeat, and so do whole lines: a line is split once, and a name is cleaned once, however
often it stands in a block. Lines of the common form (each field bare or in one pair of quotes)
are split by one regular expression; only the others go through the csv module.
"""

import csv
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.core.params import IngestParams
from stages.corpus.headers import Places
from stages.corpus.normalize import Rejected, clean_country, normalise
from stages.corpus.sources import Block, blocks
from stages.corpus.tasks import Tasks

TEXT, BYTES = pa.large_string(), pa.large_binary()
FIELDS = pa.schema({"name": BYTES, "country": BYTES, "reason": TEXT})


class Chunk(NamedTuple):
    """Some rows of one file, in its order.

    Attributes:
        rows: the rows kept: name and country, as categories.
        rejects: the others: file, line and reason.
        keys: of each distinct line that is kept: hashes of its name and of name and country
            together, and how many rows it stands for.
    """

    rows: pd.DataFrame
    rejects: pd.DataFrame
    keys: pd.DataFrame


def read(
    source: str,
    params: IngestParams,
    known: frozenset[str] | None = None,
    tasks: Tasks | None = None,
) -> Iterator[Chunk]:
    """`parse` all `blocks` of ``source``, in their order; in ``tasks`` if given."""
    work = partial(parse, params=params, known=known)
    return (tasks.map if tasks else map)(work, blocks(source, params))


def parse(block: Block, params: IngestParams, known: frozenset[str] | None = None) -> Chunk:
    """Turn a block into clean rows and rejects.

    Args:
        block: some rows of a file.
        params: how to read them.
        known: if given, rows of any other country are refused.

    Raises:
        UserError: a line is longer than ``params.max_row_bytes``.
    """
    if isinstance(block.content, bytes):
        line_of_row, lines = _distinct_lines(block.content, block, params)
        names, countries, reasons = _split(lines, block.places, params.separator)
    else:
        names, countries = block.content
        line_of_row, reasons = np.arange(len(names)), pa.nulls(len(names), TEXT)

    def usable_country(text: str) -> str:
        country = clean_country(text, params.max_length)
        if known is not None and country not in known:
            raise Rejected("country not in the training data")
        return country

    clean_name = partial(normalise, form=params.normalize, max_length=params.max_length)
    names, bad_names = _each_distinct(names, clean_name, params.encoding)
    countries, bad_countries = _each_distinct(countries, usable_country, params.encoding)
    good = pc.and_(names.is_valid(), countries.is_valid())
    distinct = pa.table(
        {
            "name": pc.if_else(good, names, None),
            "country": pc.if_else(good, countries, None),
            "reason": pc.coalesce(reasons, bad_names, bad_countries),
        }
    ).to_pandas(strings_to_categorical=True)
    rows = distinct.take(line_of_row)
    rows["file"], rows["line"] = block.file, range(block.first, block.first + len(rows))
    kept = distinct.loc[distinct["name"].notna(), ["name", "country"]]
    keys = pd.DataFrame(
        {
            "name": pd.util.hash_pandas_object(kept["name"], index=False),
            "pair": pd.util.hash_pandas_object(kept, index=False),
            "rows": np.bincount(line_of_row, minlength=len(distinct))[kept.index],
        }
    )
    return Chunk(
        rows.loc[rows["name"].notna(), ["name", "country"]],
        rows.loc[rows["reason"].notna(), ["file", "line", "reason"]],
        keys,
    )


def _distinct_lines(
    content: bytes, block: Block, params: IngestParams
) -> tuple[NDArray[Any], pa.Array]:
    """Place of each line among the distinct ones, and these, as UTF-8 without their line ends."""
    encoding = params.encoding
    if encoding.lower() not in ("utf-8", "utf8"):
        # Bytes that mean nothing in that encoding are kept: they are no UTF-8 either.
        content = content.decode(encoding, "surrogateescape").encode("utf-8", "surrogateescape")
    lines = pc.split_pattern(pa.array([content.removesuffix(b"\n")], BYTES), "\n").values
    lengths = pc.binary_length(lines).to_numpy()
    if lengths.max(initial=0) > params.max_row_bytes:
        raise UserError(
            f"{block.file}: line {block.first + lengths.argmax()} is longer than "
            f"{params.max_row_bytes} bytes (ingest.max_row_bytes); is this a CSV of name,country?"
        )
    encoded = lines.dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary


def _split(lines: pa.Array, places: Places, separator: str) -> list[pa.Array]:
    """Name and country of each line, or why there are none; an empty line has neither."""
    cut = re.escape(separator)
    fields = (f'(?P<field_{n}>"[^"\r]*"|[^"{cut}\r]*)' for n in range(places.fields))
    found = pc.extract_regex(lines, f"^{cut.join(fields)}\r?$")
    odd = found.is_null()
    common = [
        pc.ascii_trim(found.field(place).view(TEXT), characters='"').view(BYTES)
        for place in (places.name, places.country)
    ]
    by_hand = pa.RecordBatch.from_pylist(
        [_odd_line(line, places, separator) for line in lines.filter(odd).to_pylist()], FIELDS
    )
    return [
        pc.replace_with_mask(column, odd, replacement)
        for column, replacement in zip([*common, pa.nulls(len(lines), TEXT)], by_hand, strict=True)
    ]


def _odd_line(line: bytes, places: Places, separator: str) -> dict[str, bytes | str]:
    """`FIELDS` of a line that is not of the common form; nothing of an empty one."""
    line = line.removesuffix(b"\r")
    if not line:
        return {}
    if len(line) > csv.field_size_limit():
        return {"reason": f"odd line longer than {csv.field_size_limit()} bytes"}
    if b"\r" in line:
        return {"reason": "carriage return within the line"}
    try:
        text = line.decode("utf-8", "surrogateescape")
        fields = next(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error:
        return {"reason": "broken quotes"}
    if len(fields) != places.fields:
        return {"reason": f"{len(fields)} fields instead of {places.fields}"}
    found = {"name": fields[places.name], "country": fields[places.country]}
    return {key: field.encode("utf-8", "surrogateescape") for key, field in found.items()}


def _each_distinct(
    values: pa.Array, mend: Callable[[str], str], encoding: str
) -> tuple[pa.Array, pa.Array]:
    """Decode and ``mend`` each distinct value once; null and the reason where it is refused."""

    def mended(value: bytes) -> tuple[str | None, str | None]:
        try:
            return mend(value.decode()), None
        except UnicodeDecodeError:
            return None, f"not {encoding.upper()}"
        except Rejected as reason:
            return None, str(reason)

    encoded = values.dictionary_encode()
    found = [mended(value) for value in encoded.dictionary.to_pylist()]
    texts, reasons = (pa.array([pair[n] for pair in found], TEXT) for n in (0, 1))
    return texts.take(encoded.indices), reasons.take(encoded.indices)


def remedy(reason: str) -> str:
    """What a file with such rows may be, and which key reads it; nothing for other reasons."""
    if reason.startswith("1 fields"):
        return " (another separator, as Excel's ';'? set ingest.separator)"
    if "fields instead" in reason:
        return " (more columns, as an index of pandas? give it a header and set ingest.columns)"
    if reason.startswith("not UTF-8"):
        return " (from Excel, or latin-1? set ingest.encoding: cp1252)"
    return ""
