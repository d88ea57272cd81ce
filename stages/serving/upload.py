"""A table that someone sends to the server: how it is written, and the names in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4
from weakref import finalize

import fsspec

from stages.core.errors import UserError, brief
from stages.corpus.headers import UPLOAD_NAMES
from stages.corpus.rows import Format
from stages.corpus.tables import UTF16, Table

# Of gzip, Parquet and UTF-16: what is no CSV in UTF-8 or cp1252 begins so.
OTHER_KINDS = (b"\x1f\x8b", b"PAR1", *UTF16)
SEPARATORS = (",", ";", "\t", "|")


class Upload:
    """The names of a table in any format that `Table` reads.

    Attributes:
        columns: cells of the first row.
        column: the one with the names, or above them; None if it cannot be told.
        header: whether the first row is a header.
        encoding: cp1252 if the content is not UTF-8.
        separator: the one that splits the first row into most columns.
    """

    def __init__(self, content: bytes, column: str | None, header: bool | None) -> None:
        """Look at the first row.

        Args:
            content: bytes of the table.
            column: cell above the names; None: the first of `UPLOAD_NAMES`, or the only column.
            header: whether the first row is a header; None: if the column has a name.

        Raises:
            UserError: the content is no table.
        """
        self._url = f"memory://{uuid4().hex}"  # a file on disk would outlive a killed server
        memory = fsspec.filesystem("memory")
        memory.pipe(self._url, content)
        finalize(self, memory.rm, self._url)
        self.encoding = "utf-8"
        try:
            if not content.startswith(OTHER_KINDS):
                content.decode()
        except UnicodeDecodeError:
            self.encoding = "cp1252"
        with self._without_url():
            tables = [Table(self._url, Format(each, self.encoding)) for each in SEPARATORS]
            self._table = max(tables, key=lambda table: len(table.header))
            self._table.check_header()
        self.separator, self.columns = self._table.format.separator, self._table.header
        words = [" ".join(cell.casefold().replace("_", " ").split()) for cell in self.columns]
        titles = [self.columns[words.index(word)] for word in UPLOAD_NAMES if word in words]
        if column is not None:
            titles = [column] if column in self.columns else []
        self.header = bool(titles) if header is None else header
        if column is None and len(self.columns) == 1:
            titles = self.columns
        self.column = titles[0] if titles else None

    def about(self) -> dict[str, Any]:
        """How the table is read, as JSON."""
        return {key: value for key, value in vars(self).items() if key[0] != "_"}

    def rows(self) -> Iterator[tuple[str, str | None]]:
        """The name in each row; or the text of a row that cannot be read, and why.

        Raises:
            UserError: the table is broken.
        """
        assert self.column is not None
        if not self.header:
            yield self.column, None
        number = self.columns.index(self.column)
        with self._without_url():
            for batch, reasons in self._table.batches():
                names, texts = batch.column(number).to_pylist(), batch.column(0).to_pylist()
                for name, text, reason in zip(names, texts, reasons.to_pylist(), strict=True):
                    yield brief(text) if reason else str(name or ""), reason

    @contextmanager
    def _without_url(self) -> Iterator[None]:
        """Errors without that URL and a command line's options."""
        try:
            yield
        except UserError as error:
            text = str(error).replace(self._url, "the file").replace("--", "")
            raise UserError(text) from None
