"""`onoma predict` of a folder: shards in, shards out, the same bytes whoever computes them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from stages.commands import bulk, cli
from tests.clusters import kill_workers, two_workers
from tests.conftest import ROOT

SHARDS = 9


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Shards of all three kinds, one of them in a folder of its own."""
    folder = tmp_path / "people"
    (folder / "more").mkdir(parents=True)
    for n in range(SHARDS):
        frame = pd.DataFrame({"name": [f"{chr(97 + n)}{k % 50:b}" for k in range(200)]})
        if n % 3 == 0:
            frame.to_parquet(folder / f"{n}.parquet")
        else:
            place = folder / "more" if n == 4 else folder
            frame.to_csv(place / f"{n}.csv{'.gz' * (n % 3 - 1)}", index=False)
    (folder / "notes.txt").write_text("not a table")
    return folder


@pytest.fixture
def predict(onnx_folder: Path, people: Path, tmp_path: Path):
    """Predict the shards into a folder; returns the exit status."""

    def run(output: str, *arguments: object, source: Path = people) -> int:
        words = ["predict", "--model", onnx_folder, "--input", source]
        words += ["--output", tmp_path / output, *arguments]
        return cli.main([*map(str, words)])

    return run


def files(folder: Path) -> dict[str, bytes]:
    """Every file by its path in the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_each_shard_gets_the_answers_of_a_file_of_its_own(
    predict, people: Path, tmp_path: Path, onnx_folder: Path
) -> None:
    assert predict("out", "--processes", 1) == 0
    assert predict("one.parquet", source=people / "3.parquet") == 0
    wanted = pd.read_parquet(tmp_path / "one.parquet")
    found = pd.read_parquet(tmp_path / "out/3.parquet")
    assert found["country"].tolist() == wanted["country"].tolist()
    assert (found["probability"] - wanted["probability"]).abs().max() <= 1.01e-4
    tables = files(tmp_path / "out").keys() - {bulk.DONE_BY}
    assert tables == files(people).keys() - {"notes.txt"}


def test_rows_that_cannot_be_read_are_kept_and_counted(
    predict, people: Path, tmp_path: Path, capsys
) -> None:
    for number in (1, 5):
        path = next(people.rglob(f"{number}.csv*"))
        path.unlink()
        (path.with_name(f"{number}.csv")).write_bytes(b'name\nAbe\n"Bob\nCab,1\n')
    assert predict("out", "--processes", 1) == 1
    err = capsys.readouterr().err
    assert "4 rows cannot be read" in err and "1.csv, line 3: a quote is not closed" in err
    assert len(pd.read_csv(tmp_path / "out/1.csv")) == 3
    assert predict("again", "--processes", 1, "--keep-going") == 0


@pytest.mark.slow
def test_the_number_of_processes_changes_no_byte(predict, tmp_path: Path) -> None:
    assert predict("one", "--processes", 1) == predict("two", "--processes", 2) == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.slow
def test_workers_of_a_cluster_that_are_killed_change_no_byte(
    predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict("here", "--processes", 1) == 0
    with two_workers() as cluster:
        killed = kill_workers(cluster, monkeypatch, bulk)
        assert predict("there", "--cluster", cluster.scheduler_address) == 0
    assert len({*killed}) == 2
    assert files(tmp_path / "there") == files(tmp_path / "here")


def test_finished_shards_are_left_and_changed_ones_written_again(
    predict, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("out", "--processes", 1) == 0
    before = files(tmp_path / "out")
    (tmp_path / "out/0.parquet").unlink()
    later = (tmp_path / "out/1.csv").stat().st_mtime + 5
    os.utime(people / "1.csv", (later, later))
    capsys.readouterr()
    assert predict("out", "--processes", 1) == 0
    assert "wrote 2 files" in capsys.readouterr().out
    assert files(tmp_path / "out") == before


def test_answers_of_other_options_are_not_mixed(
    predict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("out", "--processes", 1) == 0
    assert predict("out", "--processes", 1, "--top", 1) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "another model or other options" in err


def test_a_shard_that_cannot_be_read_is_named_and_the_finished_ones_stay(
    predict, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (people / "5.csv.gz").write_bytes((people / "5.csv.gz").read_bytes()[:-20])
    assert predict("out", "--processes", 1) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "5.csv.gz: broken gzip" in err
    assert {"0.parquet", "1.csv"} < files(tmp_path / "out").keys()
    assert "5.csv.gz" not in files(tmp_path / "out")


@pytest.mark.parametrize("output", ["people", "people/out"])
def test_the_output_is_never_inside_the_input(
    output: str, predict, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(people)
    assert predict(output) == 1
    assert "is inside the input" in capsys.readouterr().err
    assert files(people) == before


def test_processes_are_for_folders(predict, people: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        predict("out.csv", "--processes", 2, source=people / "1.csv")


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_was(
    predict, onnx_folder: Path, tmp_path: Path, people: Path
) -> None:
    for n in range(40):
        pd.DataFrame({"name": [f"{n:x}{k:x}" for k in range(5000)]}).to_csv(
            people / f"big{n}.csv", index=False
        )
    program = [sys.executable, "-m", "stages.commands.cli", "predict", "--model", onnx_folder]
    process = subprocess.Popen(
        [*program, "--input", people, "--output", tmp_path / "out", "--processes", "2"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len([*tmp_path.glob("out/*.csv")]) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert error == "onoma: terminated\n"
    assert predict("out", "--processes", 1) == predict("whole", "--processes", 1) == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")
