"""The generator of big corpora: a function of its seed, and as odd as it says."""

import gzip
from pathlib import Path

import pytest

from stages.core.params import Params
from stages.corpus.reading import parse
from stages.corpus.rows import Block
from tests.benchmarks.big_corpus import BAD_LINES, BAD_SHARE, CHUNK, Population, write
from tests.conftest import ROOT

PARAMS = Params.load(ROOT / "params.yaml").ingest


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((folder / "train").iterdir()))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows_however_they_are_cut(tmp_path: Path) -> None:
    one = content(write(tmp_path / "one", 3000))
    assert one.count(b"\n") == 3000
    assert content(write(tmp_path / "two", 3000)) == one
    assert content(write(tmp_path / "shards", 3000, shards=4)) == one
    assert gzip.decompress(content(write(tmp_path / "gzip", 3000, zipped=True))) == one
    assert content(write(tmp_path / "other", 3000, seed=2)) != one


def test_a_smaller_corpus_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    larger = content(write(tmp_path / "larger", CHUNK + 5))
    assert larger.startswith(content(write(tmp_path / "smaller", 1000)))
    assert larger.count(b"\n") == CHUNK + 5


def test_names_repeat_and_yet_there_are_always_new_ones_in_several_scripts() -> None:
    lines = Population().chunk(0, CHUNK)
    chunk = parse(Block("file", 2, b"".join(lines.to_pylist())), PARAMS)
    few, many = (chunk.rows["name"][:rows].nunique() for rows in (25_000, 250_000))
    assert 3 < many / few < 6  # ten times the rows
    text = "".join(chunk.rows["name"].cat.categories)
    assert all(any(first <= letter <= last for letter in text) for first, last in ["ая", "αω"])
    assert abs(len(chunk.rejects) / CHUNK - BAD_SHARE) < 0.0003


def test_each_kind_of_bad_row_is_refused() -> None:
    chunk = parse(Block("file", 2, b"\n".join(BAD_LINES)), PARAMS)
    assert len(chunk.rejects) == len(BAD_LINES) and chunk.rows.empty
