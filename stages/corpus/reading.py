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

from stages.core.params import IngestParams
from stages.corpus.headers import Places
from stages.corpus.normalize import Rejected, clean_country, normalise
from stages.corpus.sources import Block, blocks, too_long
from stages.corpus.tasks import Tasks

FIELD = '(?:"(?P<{0}_quoted>[^"\r]*)"|(?P<{0}>[^"{1}\r]*))'
TEXT = pa.large_string()
OTHER = '(?:"[^"\r]*"|[^"{1}\r]*)'


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
    """Read every file of ``source``, chunk by chunk.

    Args:
        source: path, folder, glob or fsspec URL.
        params: how to read them.
        known: if given, rows of any other country are refused.
        tasks: if given, parse there; the chunks are the same in the same order.

    Raises:
        UserError: a file is missing, unreadable, broken, or changes while it is read.
    """
    work = partial(parse, params=params, known=known)
    return (tasks.map if tasks else map)(work, blocks(source, params))


def parse(block: Block, params: IngestParams, known: frozenset[str] | None = None) -> Chunk:
    """Turn a block into clean rows and rejects; a pure function.

    Raises:
        UserError: a line is longer than ``params.max_row_bytes``.
    """
    if isinstance(block.content, bytes):
        line_of_row, lines = _distinct_lines(block.content, params.encoding)
        lengths = pc.binary_length(lines).to_numpy()
        if lengths.max(initial=0) > params.max_row_bytes:
            longest = int((line_of_row == lengths.argmax()).argmax())
            raise too_long(block.file, block.first + longest, params.max_row_bytes)
        names, countries, reasons = _split(lines, block.places, params.separator)
    else:
        names, countries = block.content
        line_of_row, reasons = np.arange(len(names)), pa.nulls(len(names), TEXT)

    def clean_name(text: str) -> str:
        return normalise(text, params.normalize, params.max_length)

    def usable_country(text: str) -> str:
        country = clean_country(text, params.max_length)
        if known is not None and country not in known:
            raise Rejected("country not in the training data")
        return country

    names, bad_names = _each_distinct(names, clean_name, params.encoding)
    countries, bad_countries = _each_distinct(countries, usable_country, params.encoding)
    good = pc.and_(names.is_valid(), countries.is_valid())
    frame = pd.DataFrame(
        {
            "name": pc.if_else(good, names, None).dictionary_encode().to_pandas(),
            "country": pc.if_else(good, countries, None).dictionary_encode().to_pandas(),
            "reason": pc.coalesce(reasons, bad_names, bad_countries)
            .dictionary_encode()
            .to_pandas(),
        }
    )  # of distinct lines
    rows = frame.take(line_of_row)
    rows["file"], rows["line"] = block.file, range(block.first, block.first + len(rows))
    kept = frame.loc[frame["name"].notna(), ["name", "country"]]
    keys = pd.DataFrame(
        {
            "name": pd.util.hash_pandas_object(kept["name"], index=False),
            "pair": pd.util.hash_pandas_object(kept, index=False),
            "rows": np.bincount(line_of_row, minlength=len(frame))[kept.index],
        }
    )
    return Chunk(
        rows.loc[rows["name"].notna(), ["name", "country"]],
        rows.loc[rows["reason"].notna(), ["file", "line", "reason"]],
        keys,
    )


def _distinct_lines(content: bytes, encoding: str) -> tuple[NDArray[np.integer[Any]], pa.Array]:
    """Place of each line among the distinct ones, and these, as UTF-8 without their line ends."""
    if encoding.lower() not in ("utf-8", "utf8"):
        # Bytes that mean nothing in that encoding are kept: they are no UTF-8 either.
        content = content.decode(encoding, "surrogateescape").encode("utf-8", "surrogateescape")
    text = pa.array([content.removesuffix(b"\n")], pa.large_binary())
    lines = pc.split_pattern(text, "\n").values.dictionary_encode()
    return lines.indices.to_numpy(), lines.dictionary


def _split(lines: pa.Array, places: Places, separator: str) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Name and country of each line, or why there are none; all null for an empty line."""
    wanted = {places.name: "name", places.country: "country"}
    fields = [
        (FIELD if n in wanted else OTHER).format(wanted.get(n), re.escape(separator))
        for n in range(places.fields)
    ]
    found = pc.extract_regex(lines, "^" + re.escape(separator).join(fields) + "\r?$")
    odd = found.is_null()
    by_hand = [_odd_line(line, places, separator) for line in lines.filter(odd).to_pylist()]
    names, countries, reasons = zip(*by_hand, strict=True) if by_hand else ((), (), ())
    columns = []
    for column, values in (("name", names), ("country", countries)):
        bare, quoted = (pc.struct_field(found, column + kind) for kind in ("", "_quoted"))
        text = pc.binary_join_element_wise(bare, quoted, pa.scalar(b"", lines.type))
        columns.append(pc.replace_with_mask(text, odd, pa.array(values, lines.type)))
    none = pa.nulls(len(lines), TEXT)
    return *columns, pc.replace_with_mask(none, odd, pa.array(reasons, TEXT))


def _odd_line(
    line: bytes, places: Places, separator: str
) -> tuple[bytes | None, bytes | None, str | None]:
    """Name, country and None of a line that is not of the common form; or why it is refused."""
    line = line.removesuffix(b"\r")
    if not line:
        return None, None, None
    if len(line) > csv.field_size_limit():
        return None, None, f"odd line longer than {csv.field_size_limit()} bytes"
    if b"\r" in line:
        return None, None, "carriage return within the line"
    try:
        text = line.decode("utf-8", "surrogateescape")
        fields = next(csv.reader([text], delimiter=separator, strict=True))
    except (csv.Error, ValueError):
        return None, None, "broken quotes"
    if len(fields) != places.fields:
        return None, None, f"{len(fields)} fields instead of {places.fields}"
    name, country = (
        fields[n].encode("utf-8", "surrogateescape") for n in (places.name, places.country)
    )
    return name, country, None


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
