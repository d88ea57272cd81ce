"""Ingest as a stage: processes, shards and blocks do not show in what it writes."""

import gzip
import json
import os
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from stages import index, ingest
from stages.core.errors import UserError
from stages.corpus import tables
from tests.benchmarks import big_corpus
from tests.conftest import ROOT, contents, run, set_params

ROWS = 20_000
LETTERS = [
    f"{n:04}".translate(str.maketrans("0123456789", "abcdefghij")).encode() for n in range(5000)
]
MEMORY = 550 * 2**20


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of three shards, bad rows among them."""
    return big_corpus.write(tmp_path_factory.mktemp("big"), ROWS, shards=3)


@pytest.fixture
def project(big: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project that reads that corpus, in blocks as small as the corpus is."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 2**16)
    files = {"ingest__train": big / "train", "ingest__test": big / "test.csv"}
    set_params(folder, **files, ingest__max_rejected=ROWS)
    return folder


def use(folder: Path, train: str, test: str = "", encoding: str = "utf-8") -> None:
    """Have these rows ingested; without test rows those of training."""
    for split, rows in (("train", train), ("test", test or train)):
        (folder / f"{split}.csv").write_text(rows, encoding=encoding)
    set_params(folder, ingest__train="train.csv", ingest__test="test.csv")


@pytest.mark.slow
def test_processes_shards_and_blocks_do_not_show(
    project: Path, big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for processes in (1, 2):
        set_params(project, ingest__processes=processes)
        ingest.main()
        index.main()
        written.append(contents("data", "metrics"))
    assert written[0] == written[1]
    assert len(written[0]["data/clean/rejected.csv"].splitlines()) > ROWS // 2000
    in_shards = pq.read_table("data/clean/train.parquet")
    whole = project / "whole.csv"
    whole.write_bytes(b"".join(path.read_bytes() for path in sorted((big / "train").iterdir())))
    set_params(project, ingest__train=whole)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 2**24)
    ingest.main()
    assert pq.read_table("data/clean/train.parquet") == in_shards
    assert contents("metrics").items() <= written[0].items()


def test_what_was_refused_and_why_is_said(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "Weber,Germany\nMüller,Germany\nRossi,Italy\nWeber,Germany\nKöhler,Germany\n,Italy\n"
    use(project, rows, "Weber,Germany\nRossi,Germany\n", encoding="cp1252")
    ingest.main()
    assert json.loads(Path("metrics/ingest.json").read_text()) == {
        "train": {"read": 6, "kept": 3, "rejected": 3, "duplicates": 1},
        "test": {"read": 2, "kept": 2, "rejected": 0, "duplicates": 0},
        "overlap": {"names": 2, "pairs": 1},
    }
    train, test, kept = capsys.readouterr().out.splitlines()
    assert train == (
        "ingest: refused 3 train rows: 2 not UTF-8, 1 empty name (data/clean/rejected.csv); the "
        "first in train.csv, line 2: not UTF-8 (from Excel, or latin-1? set ingest.encoding to "
        "cp1252)"
    )
    assert test == "ingest: refused 0 test rows"
    assert kept == "ingest: kept 3 training and 2 test rows"


def test_reading_stops_as_soon_as_too_many_rows_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, taken = ingest.read, []
    monkeypatch.setattr(ingest, "read", lambda *args: (taken.append(1) or c for c in read(*args)))
    bad = project / "bad.csv"
    bad.write_bytes(b"Rossi\n" * 2**18)  # 24 blocks
    set_params(project, ingest__train=bad, ingest__max_rejected=1000)
    with pytest.raises(
        UserError, match=r"more than 1000 rows are refused .* line 1: 1 fields .*ingest\.separator"
    ):
        ingest.main()
    assert len(taken) == 1
    assert not contents("data", "metrics")


@pytest.mark.slow
def test_a_file_larger_than_memory_is_read_and_indexed(project: Path) -> None:
    rows = b"".join(
        b"Name%s,%s\n" % (LETTERS[n % 5000], b"UtopiaXanadu"[n % 2 * 6 :][:6] * 16)
        for n in range(100_000)
    )
    (project / "large.csv.gz").write_bytes(gzip.compress(rows, 1) * 65)  # inflates to 690 MB
    (project / "few.csv").write_bytes(b"".join(rows.splitlines(keepends=True)[:100]))
    files = {"ingest__train": project / "large.csv.gz", "ingest__test": project / "few.csv"}
    set_params(project, **files)
    program = (
        "import resource, sys; from stages import index, ingest; from stages.core import errors\n"
        f"resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY}, {MEMORY}))\n"
        "sys.exit(errors.exit_code(ingest.main) or errors.exit_code(index.main))\n"
    )
    done = run(project, sys.executable, "-c", program, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert "kept 6500000 training" in done.stdout


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "train.csv: holds no usable row of name,country"),
        (3 * ",Italy\n", r"more than 2 rows are refused \(ingest.max_rejected\), the first in "),
        (2 * ",Italy\n", "line 1: empty name"),
        (3 * "0,Rossi,Italy\n", r"line 1: 3 fields instead of 2 \(more .* set ingest.columns\)"),
        ("Rossi,italy\nRusso,Italy\n" * 2, r"'Italy' \(2 rows\) and 'italy' \(2 rows\) differ in"),
        (
            "Rossi,Costa Rica\nRusso,CostaRica\n" * 2,
            "'Costa Rica' .* 'CostaRica' .* spell them alike",
        ),
        ("Rossi,Italy\n" * 2, "all 2 rows are of one country, 'Italy'"),
        (
            "Nachname,Land\nRossi,Italy\nWeber,Germany\n",
            "csv, line 1: Nachname,Land may be a header",
        ),
    ],
)
def test_a_corpus_without_use_or_of_countries_that_nobody_meant_is_refused_and_the_old_one_stays(
    project: Path, rows: str, words: str
) -> None:
    use(project, rows, "Verdi,Italy\n")
    set_params(project, ingest__max_rejected=2)
    (project / "data/clean").mkdir(parents=True)
    (project / "data/clean/train.parquet").write_text("old")
    with pytest.raises(UserError, match=words):
        ingest.main()
    assert contents("data").items() >= {("data/clean/train.parquet", b"old")}


def test_rows_of_the_test_file_in_unknown_countries_are_listed(project: Path) -> None:
    use(project, "Rossi,Italy\nRusso,Italy\nMüller,Germany\n", "Verdi,Italy\nDiop,Chad\n")
    ingest.main()
    rejected = Path("data/clean/rejected.csv").read_text()
    assert rejected == "file,line,reason\ntest.csv,2,country not in the training data\n"


@pytest.mark.parametrize(
    ("kind", "kept", "refused"),
    [
        ("both", ["Hans Schmidt", "Weber", "Mario Rossi", "X"], "train.csv,4,not a name\n"),
        ("surnames", ["Weber", "X"], "".join(f"train.csv,{n},not a surname\n" for n in (1, 3, 4))),
    ],
)
def test_names_that_no_model_answers_are_refused(
    project: Path, kind: str, kept: list[str], refused: str
) -> None:
    rows = '"Schmidt, Hans",Germany\nWeber,Germany\nDr. ROSSI Mario,Italy\n1234,Italy\nX,Italy\n'
    use(project, rows)
    set_params(project, corpus__names=kind)
    ingest.main()
    assert pd.read_parquet("data/clean/train.parquet")["name"].tolist() == kept
    assert f"reason\n{refused}" in Path("data/clean/rejected.csv").read_text()
