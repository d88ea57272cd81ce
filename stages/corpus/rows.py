"""Blocks of whole lines of a CSV, or of Parquet, as columns; a row that cannot be read says why.

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
CSV_ERRORS = {  # beginnings of the csv module's messages -> reasons
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
        first: number of the first line (of a CSV) or row (of Parquet); both count from 1.
        content: whole lines of a CSV as UTF-8, or columns of Parquet.
        columns: positions in a row of the columns to read; those of Parquet are read already.
        fields: number of fields of a row.
        format: format of a CSV.
        is_start: whether its first row is that of a CSV which is read without a header.
    """

    file: str
    first: int
    content: bytes | pa.RecordBatch
    columns: Sequence[int] = (0, 1)
    fields: int = 2
    format: Format = Format()
    is_start: bool = False


class Rows(NamedTuple):
    """Rows of a file, and why one cannot be read: then its text is in the first column."""

    batch: pa.RecordBatch
    reasons: pa.Array
    lines: NDArray[np.int64]


def split(block: Block) -> Rows:
    """Split the rows of a block; an empty line is none, unless there is a single column."""
    if isinstance(block.content, pa.RecordBatch):
        numbers = np.arange(block.first, block.first + len(block.content))
        return Rows(block.content, pa.nulls(len(numbers), TEXT), numbers)
    lines = cut(block.content)
    starts = np.ones(len(lines), dtype=bool)
    if b'"' in block.content:
        pairs, _ = rows_over_lines(lines, block.fields, block.format)
        texts = lines.to_pylist() if pairs else []
        for first, last in pairs:
            texts[first] = b"\n".join(texts[first : last + 1])
            starts[first + 1 : last + 1] = False
        lines = pa.array(texts, BYTES) if pairs else lines
    if b"\r\n" in block.content:
        lines = pc.if_else(pc.ends_with(lines, "\r"), pc.binary_slice(lines, 0, -1), lines)
    if block.fields > 1:
        starts &= pc.binary_length(lines).to_numpy() > 0
    lines = lines if starts.all() else lines.filter(pa.array(starts))
    batch, reasons = _columns(lines, block)
    return Rows(batch, reasons, block.first + np.flatnonzero(starts))


def cut(content: bytes) -> pa.Array:
    """Lines without their line feeds."""
    return pc.split_pattern(pa.array([content.removesuffix(b"\n")], BYTES), "\n").values


def rows_over_lines(
    lines: pa.Array, fields: int, format: Format
) -> tuple[list[tuple[int, int]], int | None]:
    """First and last line of each row of several lines, and where the next one may begin.

    Quotes come in pairs, so a row goes on from a line with an odd number of them to the next such
    line. It does so only if its text is well-formed.
    """
    odd = np.flatnonzero(pc.count_substring(lines, '"').to_numpy() % 2).tolist()
    pairs, n = [], 0
    while n + 1 < len(odd):
        text = b"\n".join(lines[odd[n] : odd[n + 1] + 1].to_pylist())
        if len(text) <= format.longest and _cells(text, fields, format)[1] is None:
            pairs.append((odd[n], odd[n + 1]))
            n += 1
        n += 1
    return pairs, odd[n] if n < len(odd) else None


def _columns(lines: pa.Array, block: Block) -> tuple[pa.RecordBatch, pa.Array]:
    """The columns of rows, and why a row cannot be read; null if it can."""
    # Common rows have fields that are bare or in one pair of quotes; in a regular expression of
    # text, bytes that are no UTF-8 match nothing.
    other = "\r\\x{D800}-\\x{DFFF}"
    field = f'"[^"{other}]*"|[^"{re.escape(block.format.separator)}{other}]*'
    fields = (
        f"(?P<field_{n}>{field})" if n in block.columns else f"(?:{field})"
        for n in range(block.fields)
    )
    pattern = f"^(?:{re.escape(block.format.separator).join(fields)})$"
    longest = block.format.longest if block.fields <= WIDE else -1
    is_short = pc.less_equal(pc.binary_length(lines), longest)
    texts = lines.view(pa.large_string())
    if is_short.false_count:
        texts = pc.if_else(is_short, texts, None)
    common = pc.extract_regex(texts, pattern)
    is_odd = common.is_null()
    odd = [_odd_row(line, block) for line in lines.filter(is_odd).to_pylist()]
    columns = [
        pc.replace_with_mask(
            pc.ascii_trim(common.field(f"field_{column}"), characters='"').cast(TEXT),
            is_odd,
            pa.array([row[n] for row, _ in odd], TEXT),
        )
        for n, column in enumerate(block.columns)
    ]
    reasons = pa.array([reason for _, reason in odd], TEXT)
    return (
        pa.RecordBatch.from_arrays(columns, [*map(str, block.columns)]),
        pc.replace_with_mask(pa.nulls(len(lines), TEXT), is_odd, reasons),
    )


def _odd_row(line: bytes, block: Block) -> tuple[list[str | None], str | None]:
    """What is read of a row, and why it cannot be read, if so: then its text is the first cell."""
    cells, reason = _cells(line, block.fields, block.format)
    row = [cells[column] for column in block.columns] if not reason else []
    if undecoded("".join(row)):
        reason = f"not {block.format.encoding.upper()}"
    if not reason:
        return [*row], None
    text = line[:SHOWN] + b"..." if len(line) > block.format.longest else line
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


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of Parquet holds text, or nothing."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind in (TEXT, pa.large_string(), pa.string_view(), pa.null())


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
