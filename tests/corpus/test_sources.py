"""Files behind a path, a folder, a glob or a URL."""

import gzip
import os
from pathlib import Path

import botocore.exceptions
import fsspec
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from stages.core.errors import UserError
from stages.corpus.reading import read
from stages.corpus.sources import files_of
from stages.corpus.tables import Table
from tests.corpus.test_tables import INGEST


def test_a_path_a_folder_a_glob_and_a_url_name_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw/deep").mkdir(parents=True)
    (tmp_path / "raw/b.csv").write_bytes(b"Rossi,Italy\n")
    (tmp_path / "raw/a.csv.gz").write_bytes(gzip.compress(b"Weber,Germany\n"))
    (tmp_path / "raw/deep/c.tsv").write_bytes(b"Abe\tJapan\n")
    (tmp_path / "raw/notes.txt").write_bytes(b"not,this\n")
    rows = [("Weber", "Germany"), ("Rossi", "Italy"), ("Abe", "Japan")]
    for source, count in (("raw", 3), (f"{tmp_path}/raw", 3), ("raw/*.csv*", 2), ("raw/b.csv", 1)):
        expected = rows[1:2] if count == 1 else rows[:count]
        for prefix in ("", f"file://{tmp_path}/" if source[0] != "/" else "file://"):
            chunks = [chunk.rows for chunk in read(prefix + source, INGEST)]
            assert [*pd.concat(chunks).itertuples(index=False, name=None)] == expected


@pytest.mark.parametrize("source", ["nowhere.csv", "*.csv", "empty", "odd://x/y", "file:///none"])
def test_a_source_without_a_file_is_named(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=source.replace("*", r"\*")):
        list(read(source, INGEST))


@pytest.mark.parametrize("source", ["", "/*.csv", "/**/*.csv"])
def test_a_folder_that_cannot_be_read_is_said_to_be_so(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.csv").touch()
    scandir = os.scandir

    def scan(path: str) -> object:  # root can read all: not by chmod
        if source != "/*.csv" and not path.endswith("deep"):
            return scandir(path)
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(UserError, match=rf"{tmp_path}.*: Permission denied"):
        files_of(f"{tmp_path}{source}", "choose another")


def test_storage_without_credentials_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Storage(MemoryFileSystem):
        protocol = "odd"

        def info(self, path: str, **kwargs: object) -> object:
            raise botocore.exceptions.NoCredentialsError

        isfile = ls = _open = info

    fsspec.register_implementation("odd", Storage, clobber=True)
    for look in (lambda: files_of("odd://bucket/a.csv", ""), lambda: Table("odd://bucket/a.csv")):
        with pytest.raises(
            UserError,
            match=r"^odd://bucket/a\.csv: cannot be reached: Unable to locate credentials$",
        ):
            look()
