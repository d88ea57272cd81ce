"""Rows of a CSV, or of Parquet, as columns; a row that cannot be read says why.

Lines are cut at line feeds alone: `splitlines` also cuts within names. A row goes over line ends
only if it is well-formed and has the right number of fields, so a quote that is not closed costs
one line. Common rows are split by a regular expression, the others by the csv module.
"""

import csv
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.core.errors import UserError

WIDE = 16  # fields of a row; the csv module splits more of them faster
SHOWN = 1000  # bytes of a longer row that are kept
BYTES, TEXT = pa.large_binary(), pa.string()
undecoded = re.compile("[\udc80-\udcff]").search  # bytes that mean nothing in the encoding
CSV_ERRORS = {  # how the csv module's messages begin -> our reasons
    "unexpected end": "a quote is not closed",
    "new-line": "carriage return within the line",
    "field larger": f"a field longer than {csv.field_size_limit()} characters",
}


class Format(NamedTuple):
    """How a CSV is written, the bytes that a row may have, and how options are called.

    Attributes:
        keys: beginning of the options' names in messages.
        header: whether the first row names the columns; if not, their numbers do: 1, 2, ...
    """

    separator: str = ","
    encoding: str = "utf-8"
    longest: int = 2**20
    keys: str = "--"
    header: bool = True


class Block(NamedTuple):
    """Some rows of one file as they stand there; any process can `split` them.

    Attributes:
        file: path or URL.
        rows: rows of a CSV as UTF-8, or the columns of Parquet that are to be read.
        lines: the first line of each row (of a CSV) or its number (of Parquet), from 1.
        columns: positions in a row of the columns to read of a CSV.
        fields: number of fields of a row of a CSV.
        format: format of a CSV.
        is_start: whether its first row is that of a CSV which is read without a header.
    """

    file: str
    rows: pa.Array | pa.RecordBatch
    lines: NDArray[np.int64]
    columns: Sequence[int] = (0, 1)
    fields: int = 2
    format: Format = Format()
    is_start: bool = False


def cut(content: bytes) -> pa.Array:
    """Lines without their line feeds."""
    return pc.split_pattern(pa.array([content.removesuffix(b"\n")], BYTES), "\n").values


def whole_rows(
    lines: pa.Array, fields: int, format: Format
) -> tuple[pa.Array, NDArray[np.int64], int]:
    """Join lines to rows; an empty line is none, unless there is a single column.

    Quotes come in pairs, so a row goes on from a line with an odd number of them to the next such
    line. It does so only if its text is well-formed.

    Returns:
        rows: rows without their line ends.
        starts: positions of their first lines.
        open_line: position of the last line with an odd number of quotes if its row may go on;
            else the number of lines.
    """
    odd = np.flatnonzero(pc.count_substring(lines, '"').to_numpy() % 2).tolist()
    is_start, is_joined, texts, n = np.ones(len(lines), bool), np.zeros(len(lines), bool), [], 0
    while n + 1 < len(odd):
        first, last = odd[n : n + 2]
        text = b"\n".join(lines[first : last + 1].to_pylist())
        if _cells(text, fields, format)[1] is None:
            texts.append(text)
            is_joined[first], is_start[first + 1 : last + 1] = True, False
            n += 1
        n += 1
    if texts:
        lines = pc.replace_with_mask(lines, pa.array(is_joined), pa.array(texts, BYTES))
    lines = pc.if_else(pc.ends_with(lines, "\r"), pc.binary_slice(lines, 0, -1), lines)
    if fields != 1:
        is_start &= pc.binary_length(lines).to_numpy() > 0
    open_line = odd[n] if n < len(odd) else len(lines)
    return lines.filter(pa.array(is_start)), np.flatnonzero(is_start), open_line


def split(block: Block) -> tuple[list[pa.Array], pa.Array]:
    """Columns of the rows of a block, and why a row cannot be read; null if it can.

    Then its text is in the first column, and nothing in the others.
    """
    if isinstance(block.rows, pa.RecordBatch):
        return block.rows.columns, pa.nulls(len(block.rows), TEXT)
    # Common rows have fields that are bare or in one pair of quotes; in a regular expression of
    # text, bytes that are no UTF-8 match nothing.
    other = "\r\\x{D800}-\\x{DFFF}"
    separator = re.escape(block.format.separator)
    field = f'"[^"{other}]*"|[^"{separator}{other}]*'
    fields = (
        f"(?P<f{n}>{field})" if n in block.columns else f"(?:{field})" for n in range(block.fields)
    )
    longest = block.format.longest if block.fields <= WIDE else -1
    is_short = pc.less_equal(pc.binary_length(block.rows), longest)
    texts = pc.if_else(is_short, block.rows.view(pa.large_string()), None)
    common = pc.extract_regex(texts, f"^(?:{separator.join(fields)})$")
    is_rare = common.is_null()
    rare = [_rare_row(row, block) for row in block.rows.filter(is_rare).to_pylist()]
    columns = [
        pc.replace_with_mask(
            pc.ascii_trim(common.field(f"f{column}"), characters='"').cast(TEXT),
            is_rare,
            pa.array([cells[n] for cells, _ in rare], TEXT),
        )
        for n, column in enumerate(block.columns)
    ]
    reasons = pa.array([reason for _, reason in rare], TEXT)
    return columns, pc.replace_with_mask(pa.nulls(len(texts), TEXT), is_rare, reasons)


def _rare_row(row: bytes, block: Block) -> tuple[list[str | None], str | None]:
    """The cells to read of a row, by the csv module; or its text, nothing, and why it has none."""
    cells, reason = _cells(row, block.fields, block.format)
    chosen = [cells[column] for column in block.columns] if not reason else []
    if undecoded("".join(chosen)):
        reason = f"not {block.format.encoding.upper()}"
    if not reason:
        return [*chosen], None
    text = row[:SHOWN] + b"..." if len(row) > block.format.longest else row
    return [text.decode("utf-8", "backslashreplace"), *[None] * (len(block.columns) - 1)], reason


def _cells(row: bytes, fields: int, format: Format) -> tuple[list[str], str | None]:
    """The cells of a row, or why it cannot be read; bytes that are no UTF-8 are surrogates."""
    if len(row) > format.longest:
        return [], f"longer than {format.longest} bytes"
    try:
        text = row.decode("utf-8", "surrogateescape")
        cells = next(csv.reader([text], delimiter=format.separator, strict=True), [""])
    except csv.Error as error:
        reasons = [reason for start, reason in CSV_ERRORS.items() if str(error).startswith(start)]
        return [], reasons[0] if reasons else "broken quotes"
    is_wrong = fields and len(cells) != fields
    return cells, f"{len(cells)} fields instead of {fields}" if is_wrong else None


def remedy(reason: str, format: Format) -> str:
    """Which option reads a file with such rows; nothing for other reasons."""
    advice = ""
    if reason.startswith("1 fields"):
        advice = "another separator, as Excel's ';'? set {}separator"
    elif reason.startswith("not UTF-8"):
        advice = "from Excel, or latin-1? set {}encoding to cp1252"
    elif "fields instead" in reason and format.keys != "--":
        advice = "more columns, as an index of pandas? give it a header and set {}columns"
    return advice and f" ({advice.format(format.keys)})"


def too_long(file: str, line: int, format: Format) -> UserError:
    """The error of a line that no CSV of names has."""
    limit = f"{format.longest} bytes"
    if format.keys != "--":
        limit += f" ({format.keys}max_row_bytes)"
    return UserError(f"{file}: line {line} is longer than {limit}; is this a CSV?")
