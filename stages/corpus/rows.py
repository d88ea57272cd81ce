"""Rows of a CSV as record batches in bounded memory. A row that cannot be read comes out too.

The csv module splits the rows. A quote that is not closed would make one row of all that follows,
so several lines are one row only if they are well-formed and have the right number of fields.
"""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import pyarrow as pa

from stages.core.errors import UserError

LONGEST = 2**20  # characters of a row
ROWS = 2**15  # of a batch; fewer if they have more than LONGEST characters
SHOWN = 1000  # characters kept of a longer row
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
OPEN_QUOTE = "a quote is not closed"
undecoded = re.compile("[\udc80-\udcff]").search  # bytes that mean nothing in the encoding


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
            start: opens the file, at its beginning each time.
            separator: of the fields, one character.
            encoding: one that extends ASCII.

        Raises:
            UserError: the file is empty, no CSV, or its header has another encoding.
        """
        self._start, self._separator, self._encoding = start, separator, encoding.lower()
        _, _, self.header = self._open()
        if not self.header:
            raise UserError("is empty; its first line must name the columns")
        if any(map(undecoded, self.header)):
            raise UserError(f"its header is not {encoding.upper()}; set --encoding (cp1252, say)")

    def batches(self) -> Iterator[Rows]:
        """All rows in order."""
        rows: list[list[str | None]] = []
        problems: list[str | None] = []
        size = 0
        for cells, problem, length in self._rows():
            rows.append(cells)
            problems.append(problem or None)
            size += length
            if len(rows) == ROWS or size > LONGEST:
                yield self._batch(rows, problems)
                rows, problems, size = [], [], 0
        if rows:
            yield self._batch(rows, problems)

    def _batch(self, rows: list[list[str | None]], problems: list[str | None]) -> Rows:
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        batch = pa.RecordBatch.from_arrays(columns, self.header)
        return Rows(batch, pa.array(problems, pa.string()))

    def _open(self) -> tuple["_Lines", Any, list[str]]:
        """The lines of the file, a csv.reader of them, and the header that it has read."""
        first = self._start().read(4)
        if first.startswith(UTF16):
            raise UserError("is UTF-16; convert it to UTF-8 (iconv -f utf-16 -t utf-8)")
        if first == b"PK\x03\x04":
            raise UserError("is an Excel workbook or a zip; save it as CSV")
        utf8 = codecs.lookup(self._encoding).name == "utf-8"
        encoding = "utf-8-sig" if utf8 else self._encoding
        text = io.TextIOWrapper(self._start(), encoding, errors="surrogateescape", newline="\n")
        lines = _Lines(text)
        reader = csv.reader(lines, delimiter=self._separator)
        return lines, reader, next(filter(None, reader), [])

    def _rows(self) -> Iterator[tuple[list[str | None], str, int]]:
        """Cells of each row, why it cannot be read if so, and its length."""
        lines, reader, _ = self._open()
        others: list[str | None] = [None] * (len(self.header) - 1)
        while True:
            lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                cells = None
            if problem := self._problem(cells, lines):
                text = lines.keep_first() if problem == OPEN_QUOTE else "".join(lines.taken)
                text = text[:SHOWN] + "..." if len(text) > LONGEST else text.rstrip("\r\n")
                text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                yield [text, *others], problem, lines.size
            elif cells or not others:  # in a single column an empty line is an empty cell
                yield cells or [""], "", lines.size

    def _problem(self, cells: list[str] | None, lines: "_Lines") -> str:
        """Why a row cannot be read; nothing if it can.

        Args:
            cells: None if the csv module refuses the row.
            lines: that have taken its lines.
        """
        first, columns = lines.taken[0], len(self.header)
        if len(first) > LONGEST:
            return f"longer than {LONGEST} characters"
        if (len(lines.taken) > 1 or lines.ended) and not (
            cells and len(cells) == columns and self._is_well_formed(lines.taken)
        ):
            return OPEN_QUOTE
        if cells is None and "\r" in first.rstrip("\r\n"):
            return "carriage return within the line"
        if cells is None:
            return f"a field longer than {csv.field_size_limit()} characters"
        if any(map(undecoded, lines.taken)):
            return f"not {self._encoding.upper()}"
        if cells and len(cells) != columns:
            return f"{len(cells)} fields instead of {columns}"
        return ""

    def _is_well_formed(self, lines: list[str]) -> bool:
        try:
            return len(list(csv.reader(lines, delimiter=self._separator, strict=True))) == 1
        except csv.Error:
            return False


class _Lines:
    """Lines of a file for csv.reader; those that it takes too many are given again.

    Attributes:
        taken: lines of the current row.
        size: how many characters they have.
        ended: whether the file ended within the row.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self.begin_row()

    def begin_row(self) -> None:
        self.taken: list[str] = []
        self.size, self.ended = 0, False

    def keep_first(self) -> str:
        """The row's first line; the others are given again."""
        first, *others = self.taken
        self._again.extendleft(reversed(others))
        return first

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.popleft()
        else:
            line = rest = self._stream.readline(LONGEST + 1)
            while len(rest) > LONGEST and not rest.endswith("\n"):
                rest = self._stream.readline(LONGEST + 1)
        if not line:
            self.ended = True
            raise StopIteration
        self.taken.append(line)
        self.size += len(line)
        if self.size > LONGEST:
            raise csv.Error("its first row is too long")
        return line
