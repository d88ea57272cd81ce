"""Rows of a CSV as record batches in bounded memory. A row that cannot be read comes out too.

Arrow splits rows, and says which of them have too many or too few fields. What it would stumble
over (a quote that is not closed, bytes of another encoding, a row without end) is replaced before
by a stand-in that has too many fields as well.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from stages.core.errors import UserError

BLOCK_BYTES = 2**20  # read at a time, and of a row at most
SHOWN = 1000  # bytes kept of a longer row
UTF8, UTF16 = ("utf-8", "utf8"), (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Rows(NamedTuple):
    """Some rows of a table.

    Attributes:
        batch: their cells. A row that cannot be read is as it stands in the file in the first
            column; the others are null.
        problems: why a row cannot be read; null for the others.
    """

    batch: pa.RecordBatch
    problems: pa.Array


class CsvReader:
    """A CSV whose first line names its columns.

    Attributes:
        header: names of the columns.
    """

    def __init__(self, start: Callable[[], pa.NativeFile], separator: str, encoding: str) -> None:
        """Read the header.

        Args:
            start: opens the file; it is read twice.
            separator: of the fields, one character.
            encoding: one that extends ASCII.

        Raises:
            UserError: the file is empty, no CSV, or its header has another encoding.
        """
        self._start, self._separator, self._encoding = start, separator, encoding.lower()
        self._stand_ins: dict[str, tuple[str, str]] = {}  # -> reason, text of the row
        self._header_bytes = 0
        text = next(self._pieces(), b"").decode("utf-8", "surrogateescape")
        rows = csv.reader(self._counted(text), delimiter=separator)
        self.header = next(filter(None, rows), [])
        if not self.header:
            raise UserError("is empty; its first line must name the columns")
        if any("\udc80" <= character <= "\udcff" for character in "".join(self.header)):
            raise UserError(f"its header is not {encoding.upper()}; set --encoding (cp1252, say)")
        sep = re.escape(separator).encode()
        quoted = rb'"[^"]*(?:""[^"]*)*"'
        field = rb"(?:%s|[^\"%s\n][^%s\n]*|)" % (quoted, sep, sep)
        others = rb"(?:%s%s){%d}" % (sep, field, len(self.header) - 1)
        self._record = re.compile(field + others + rb"\r?\n?")

    def batches(self) -> Iterator[Rows]:
        """All rows in order."""
        rest, skip = b"", self._header_bytes
        pieces = self._pieces()
        for piece in pieces:
            rest, skip = rest + piece[skip:], 0
            end = rest.rfind(b"\n") + 1
            endless = len(rest) - end > BLOCK_BYTES
            records, left = self._records(rest[:end], last=endless)
            rest = left + rest[end:]
            if endless:
                start, rest = rest[:SHOWN] + b"...", _after_line(pieces)
                records += self._stand_in(start, f"longer than {BLOCK_BYTES} bytes")
            yield from self._parse(records)
        yield from self._parse(self._records(rest, last=True)[0])

    def _pieces(self) -> Iterator[bytes]:
        """The file as UTF-8 without byte order mark; bytes of no meaning stay as they are."""
        stream, first = self._start(), True
        decoder = codecs.getincrementaldecoder(self._encoding)("surrogateescape")
        while piece := stream.read(BLOCK_BYTES):
            if first and piece.startswith(UTF16):
                raise UserError("is UTF-16; convert it to UTF-8 (iconv -f utf-16 -t utf-8)")
            if first and piece.startswith(b"PK\x03\x04"):
                raise UserError("is an Excel workbook or a zip; save it as CSV")
            if self._encoding not in UTF8:
                piece = decoder.decode(piece).encode("utf-8", "surrogateescape")
            elif first:
                piece = piece.removeprefix(codecs.BOM_UTF8)
            first = False
            yield piece
        yield decoder.decode(b"", True).encode("utf-8", "surrogateescape")

    def _counted(self, text: str) -> Iterator[str]:
        """Lines; those that are taken belong to the header."""
        for line in io.StringIO(text, newline=""):
            self._header_bytes += len(line.encode("utf-8", "surrogateescape"))
            yield line

    def _records(self, lines: bytes, last: bool) -> tuple[bytes, bytes]:
        """Whole rows that Arrow can split, and the lines of one that goes on.

        Args:
            lines: whole ones.
            last: nothing follows that could close a quote.
        """
        if _quotes_are_closed(lines) and _is_utf8(lines):
            return lines, b""
        parts = [line + b"\n" for line in lines.split(b"\n")]
        parts[-1] = parts[-1][:-1]
        odd = [n for n, part in enumerate(parts) if part.count(b'"') % 2]
        closing = dict(pairwise(odd))
        is_odd, found, n = set(odd), b"", 0
        kept: list[bytes] = []
        while n < len(parts):
            found, size, problem = parts[n], 1, ""
            if n in is_odd and not self._record.fullmatch(found):
                whole = b"".join(parts[n : closing.get(n, n) + 1])
                if n in closing and self._record.fullmatch(whole):
                    found, size = whole, closing[n] + 1 - n
                elif n in closing or last or sum(map(len, parts[n:])) > BLOCK_BYTES:
                    problem = "a quote is not closed"
                else:
                    return b"".join(kept), b"".join(parts[n:])
            if not problem and not _is_utf8(found):
                problem = f"not {self._encoding.upper()}"
            kept.append(self._stand_in(found, problem) if problem else found)
            n += size
        return b"".join(kept), b""

    def _stand_in(self, row: bytes, problem: str) -> bytes:
        line = f"\0{len(self._stand_ins)}" + self._separator * len(self.header)
        text = row.decode("utf-8", "backslashreplace").rstrip("\r\n")
        self._stand_ins[line] = (problem, text)
        return line.encode() + b"\n"

    def _parse(self, records: bytes) -> Iterator[Rows]:
        if not records:
            return
        invalid: list[tuple[int, str, str]] = []

        def keep(row: pcsv.InvalidRow) -> str:
            counts = f"{row.actual_columns} fields instead of {row.expected_columns}"
            problem, text = self._stand_ins.get(row.text, (counts, row.text))
            invalid.append((row.number - 1, problem, text))
            return "skip"

        single = len(self.header) == 1
        table = pcsv.read_csv(
            pa.py_buffer(codecs.BOM_UTF8 + records),  # Arrow takes one away, also within a file
            read_options=pcsv.ReadOptions(
                # One block on one thread: only so has an invalid row a number.
                use_threads=False,
                block_size=len(records) + 4,
                column_names=self.header,
            ),
            parse_options=pcsv.ParseOptions(
                delimiter=self._separator,
                newlines_in_values=True,
                invalid_row_handler=keep,
                ignore_empty_lines=not single,  # in a single column it is an empty cell
            ),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys(self.header, pa.string())
            ),
        )
        self._stand_ins.clear()
        problems = pa.nulls(len(table), pa.string())
        if invalid:
            rows, reasons, texts = zip(*invalid, strict=True)
            bad = np.zeros(len(table) + len(invalid), dtype=bool)
            bad[list(rows)] = True
            places = np.where(bad, 0, np.cumsum(~bad) - 1)
            table = table.take(pa.array(places, mask=bad))
            problems = pc.replace_with_mask(
                pa.nulls(len(bad), pa.string()), pa.array(bad), pa.array(reasons, pa.string())
            )
            first = pc.replace_with_mask(
                pa.concat_arrays(table.column(0).chunks),
                pa.array(bad),
                pa.array(texts, pa.string()),
            )
            table = table.set_column(0, table.schema.field(0), first)
        start = 0
        for batch in table.to_batches():
            yield Rows(batch, problems.slice(start, len(batch)))
            start += len(batch)


def _quotes_are_closed(lines: bytes) -> bool:
    """Whether each line has an even number of quotes."""
    if b'"' not in lines:
        return True
    codes = np.frombuffer(lines, dtype=np.uint8)
    quotes, ends = (np.flatnonzero(codes == ord(character)) for character in '"\n')
    before = np.searchsorted(quotes, ends)
    return len(quotes) % 2 == 0 and not (before % 2).any()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _after_line(pieces: Iterator[bytes]) -> bytes:
    """What follows the rest of the line."""
    for piece in pieces:
        if (end := piece.find(b"\n")) >= 0:
            return piece[end + 1 :]
    return b""
