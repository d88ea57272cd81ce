"""`onoma predict --input`: files and folders, every distinct name once, never a clobbered input."""

import dataclasses
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.commands import bulk, cli
from stages.serving import columns
from stages.serving.columns import Answerer
from stages.serving.config import Config
from stages.serving.onnx_bundle import load
from tests.clusters import kill_workers, two_workers
from tests.conftest import ROOT, run

NAMES = ["Abe", "Müller", "1234", "", "O'Brien", "Иванов", "佐藤", "x" * 50, "Abe"]
ANSWERS = ["country", "probability", "reason", "set"]
NEW = [*ANSWERS, "country_1", "probability_1", "country_2", "probability_2"]
SHARDS = 9


@pytest.fixture
def predict(onnx_folder: Path):
    """Run `onoma predict`; returns the exit status."""

    def run(*arguments: object) -> int:
        return cli.main(["predict", "--model", str(onnx_folder), *map(str, arguments)])

    return run


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    frame = pd.DataFrame({"id": range(len(NAMES)), "surname": NAMES})
    frame.to_csv(path, index=False, quoting=1)
    return path


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, keep_default_na=False)


def assert_close(*paths: Path) -> None:
    """Batches of other names may give other last digits."""
    first, second = map(read, paths)
    assert first["country"].tolist() == second["country"].tolist()
    assert (first["probability"] - second["probability"]).abs().max() <= 1.01e-4


def test_table_comes_back_with_the_apis_answers(
    predict, people: Path, tmp_path: Path, onnx_folder: Path
) -> None:
    target = tmp_path / "out.csv.gz"
    arguments = ["--input", people, "--output", target, "--column", "surname", "--top", 2]
    assert predict(*arguments) == 0
    found = read(target)
    assert list(found) == ["id", "surname", *NEW]
    assert found["surname"].tolist() == NAMES
    wanted = load(onnx_folder).frame(NAMES, top=2)
    wanted["set"] = wanted["set"].map("|".join)
    for column in NEW:
        if column.startswith("probability"):
            numbers = pd.to_numeric(found[column]).to_numpy()
            assert numbers == pytest.approx(wanted[column], abs=6e-5, nan_ok=True)
        else:
            assert found[column].tolist() == wanted[column].fillna("").tolist()


def test_given_names_come_in_a_column_of_their_own(
    tmp_path: Path, folder_of_full_names: Path, capsys
) -> None:
    people = pd.DataFrame({"first": ["Angela", "", "Bob"], "last": ["Abe", "Abe", ""]})
    people.to_csv(tmp_path / "in.csv", index=False)
    program = ["predict", "--model", str(folder_of_full_names), "--input", str(tmp_path / "in.csv")]
    program += ["--output", str(tmp_path / "out.parquet"), "--surname", "last", "--given"]
    assert cli.main([*program, "first"]) == 0
    found = pd.read_parquet(tmp_path / "out.parquet")
    wanted = load(folder_of_full_names).frame(people, surname="last", given="first")
    assert found["kind"].tolist()[:2] == ["full name", "surname"]
    columns = ["country", "probability", "reason", "group", "group_probability", "kind"]
    pd.testing.assert_frame_equal(
        found[columns], wanted[columns], check_dtype=False, rtol=0, atol=6e-5
    )
    assert cli.main([*program, "firts"]) == 1
    assert "no column 'firts'; use --given, one of: first, last" in capsys.readouterr().err


@pytest.fixture
def folder_of_full_names(onnx_folder: Path, tmp_path: Path) -> Path:
    """The bundle as one of both kinds of names, with groups."""
    config = Config.read(onnx_folder)
    rows = config.held_out
    by_kind = {name: np.repeat(getattr(rows, name), 2, axis=0) for name in ("thresholds", "prior")}
    config = dataclasses.replace(
        config,
        names="both",
        temperatures=[1.0, 1.5],
        groups={"Alps": ["Austria", "Belgium"], "Other": ["Chad", "Denmark"]},
        held_out=dataclasses.replace(rows, **by_kind),
    )
    shutil.copytree(onnx_folder, tmp_path / "full")
    config.write(tmp_path / "full")
    return tmp_path / "full"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_no_row_is_lost(predict, tmp_path: Path, suffix: str, capsys) -> None:
    source, target = tmp_path / "in.csv", tmp_path / f"out{suffix}"
    source.write_bytes(b'surname,id\nAbe,1\nBob\n"Cab,3\nDad,4,5\nM\xfcller,6\nBea,7\n')
    arguments = ["--input", source, "--output", target, "--column", "surname", "--top", 1]
    assert predict(*arguments) == 1
    out, err = capsys.readouterr()
    assert "6 rows, 2 names computed, 0 rows with an unusable name" in out
    assert f"onoma: 4 rows cannot be read; {source}, line 3: 1 fields instead of 2" in err
    found = read(target)
    assert found["surname"].tolist() == ["Abe", "Bob", '"Cab,3', "Dad,4,5", "M\\xfcller,6", "Bea"]
    assert found["reason"].tolist()[1:5] == [
        "1 fields instead of 2",
        "a quote is not closed",
        "3 fields instead of 2",
        "not UTF-8",
    ]
    assert found["country_1"].replace("", None).notna().tolist() == [True, *[False] * 4, True]
    assert predict(*arguments, "--keep-going") == 0
    assert predict(*arguments, "--encoding", "cp1252") == 1
    assert read(target)["surname"][4] == "Müller"


def test_parquet_in_whatever_way_text_is_stored(predict, tmp_path: Path) -> None:
    wanted = None
    kinds = [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.binary()]
    kinds.append(pa.string_view())
    for n, kind in enumerate(kinds):
        table = pa.table({"name": pa.array([*NAMES, None], pa.string()).cast(kind), "n": range(10)})
        pq.write_table(table, tmp_path / f"{n}.parquet")
        target = tmp_path / f"{n}.out.parquet"
        assert predict("--input", tmp_path / f"{n}.parquet", "--output", target) == 0
        found = pq.read_table(target)
        assert found.select(["name", "n"]).cast(table.schema).equals(table)
        answers = found.drop_columns(["name", "n"])
        assert wanted is None or answers.equals(wanted)
        wanted = answers
        assert answers["country"][9].as_py() is None


def test_input_is_never_the_output(predict, people: Path, tmp_path: Path, capsys) -> None:
    before = people.read_bytes()
    (tmp_path / "symlink.csv").symlink_to(people)
    os.link(people, tmp_path / "hardlink.csv")
    (tmp_path / "folder").symlink_to(tmp_path)
    for target in ("people.csv", "symlink.csv", "hardlink.csv", "folder/people.csv"):
        arguments = ["--input", people, "--output", tmp_path / target, "--column", "surname"]
        assert predict(*arguments) == 1
        assert "is also the input" in capsys.readouterr().err
    assert people.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b'"first\nline","\x1b[31mred"\na,b\n', [], "no column 'name'"),
        (b"name,country\nAbe,Japan\n", [], "give a --prefix for the new columns"),
        (bytes(range(256)) * 40, [], ""),
        (b"name\nAbe\n", ["--output", "in.csv/o.csv"], "in.csv"),
        (b"name\nAbe\n", ["--output", "o.xlsx"], "must end in one of"),
    ],
)
def test_what_does_not_fit_is_one_line(
    predict, tmp_path: Path, monkeypatch, capsys, content: bytes, options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_bytes(content)
    assert predict("--input", "in.csv", "--output", "o.csv", *options) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "\x1b" not in err and said in err
    assert [*Path().iterdir()] == [Path("in.csv")]


def test_numbers_are_no_names_and_those_of_a_wrong_encoding_are_kept_without_answer(
    predict, tmp_path: Path, capsys
) -> None:
    source, target = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.table({"name": [b"M\xfcller", b"Abe"], "age": [1, 2]}), source)
    assert predict("--input", source, "--output", target, "--column", "age") == 1
    assert "int64, not text" in capsys.readouterr().err
    assert predict("--input", source, "--output", target, "--top", 1) == 0
    found = pq.read_table(target).to_pydict()
    assert found["name"] == [b"M\xfcller", b"Abe"]
    assert [country is None for country in found["country"]] == [True, False]


def test_each_name_is_computed_once_within_and_across_chunks(onnx_folder: Path) -> None:
    answer = Answerer(load(onnx_folder))
    first, rows = answer(pa.array(["Abe", "Bob", "Abe", None, "Abe"]))
    assert answer.computed == 2 and first.names[rows].tolist() == ["Abe", "Bob", "Abe", None, "Abe"]
    second, rows = answer(pa.array(["Bob", "Abe", "Cab"]))
    assert answer.computed == 3 and second.names[rows].tolist() == ["Bob", "Abe", "Cab"]
    np.testing.assert_array_equal(second.probabilities[rows[:2]], first.probabilities[[1, 0]])
    assert np.isnan(first.probabilities[first.names == None]).all()  # noqa: E711


def test_remembered_answers_are_bounded(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "REMEMBERED", 10)
    answer = Answerer(load(onnx_folder))
    for start in range(0, 100, 5):
        answer(pa.array([f"a{n:b}" for n in range(start, start + 5)]))
        assert len(answer._remembered.names) <= 15


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_file(onnx_folder: Path, tmp_path: Path) -> None:
    program = ["predict", "--model", str(onnx_folder), "--output", str(tmp_path / "out.parquet")]
    for rows in (100_000, 1_200_000):
        with (tmp_path / f"{rows}.csv").open("w") as file:
            file.write("name,note\n")
            file.writelines(f"{n % 5_000:b},some longer text in another one\n" for n in range(rows))
    script = (
        "import resource, sys; from stages.commands import cli\n"
        "for file in sys.argv[1:]:\n"
        f"    assert cli.main([*{program!r}, '--input', file]) == 0\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    files = [f"{tmp_path}/100000.csv", f"{tmp_path}/1200000.csv"]
    done = run(ROOT, sys.executable, "-c", script, *files)
    assert done.returncode == 0, done.stderr
    small, large = (int(line) for line in done.stdout.splitlines() if line.isdigit())
    assert large < 600
    assert large < small + 60  # a file of 50 MB, held nowhere as a whole


def test_chunks_and_workers_do_not_change_the_answers(
    predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{chr(97 + n % 26)}{chr(97 + n % 7)}{n % 50:b}" for n in range(3000)]
    pq.write_table(pa.table({"name": names}), tmp_path / "in.parquet")
    predict("--input", tmp_path / "in.parquet", "--output", tmp_path / "a.parquet")
    monkeypatch.setattr("stages.corpus.tables.BATCH_ROWS", 100)
    monkeypatch.setattr(columns, "REMEMBERED", 10)
    predict("--input", tmp_path / "in.parquet", "--output", tmp_path / "b.parquet")
    assert_close(tmp_path / "a.parquet", tmp_path / "b.parquet")


# Folders.


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Tables of all kinds, one of them in a folder of its own."""
    folder = tmp_path / "shards"
    (folder / "more").mkdir(parents=True)
    for n in range(SHARDS):
        frame = pd.DataFrame({"name": [f"{chr(97 + n)}{k % 50:b}" for k in range(200)]})
        if n % 3 == 0:
            frame.to_parquet(folder / f"{n}.parquet")
        else:
            frame.to_csv(folder / f"{'more/' * (n == 4)}{n}.csv{'.gz' * (n % 3 - 1)}", index=False)
    (folder / "notes.txt").write_text("not a table")
    return folder


@pytest.fixture
def predict_all(predict, shards: Path, tmp_path: Path):
    """Predict the shards, or another source, into a folder; returns the exit status."""

    def run(output: str, *arguments: object, source: Path | str = shards) -> int:
        return predict("--input", source, "--output", tmp_path / output, *arguments)

    return run


def files(folder: Path) -> dict[str, bytes]:
    """Every file by its path in the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_each_shard_gets_the_answers_of_a_file_of_its_own(
    predict_all, shards: Path, tmp_path: Path, onnx_folder: Path
) -> None:
    assert predict_all("out", "--processes", 1) == 0
    assert predict_all("globbed", "--processes", 1, source=f"{shards}/**/*.csv") == 0
    there = files(tmp_path / "out")
    assert there.keys() - {bulk.DONE_BY} == files(shards).keys() - {"notes.txt"}
    expected = {name: there[name] for name in ("1.csv", "more/4.csv", "7.csv")}
    assert files(tmp_path / "globbed").items() >= expected.items()
    assert predict_all("one.parquet", source=shards / "3.parquet") == 0
    assert_close(tmp_path / "one.parquet", tmp_path / "out/3.parquet")


def test_rows_that_cannot_be_read_are_kept_and_counted(
    predict_all, shards: Path, tmp_path: Path, capsys
) -> None:
    for number in (1, 7):
        (shards / f"{number}.csv").write_bytes(b'name\nAbe\n"Bob\nCab,1\n')
    assert predict_all("out", "--processes", 1) == 1
    err = capsys.readouterr().err
    assert "4 rows cannot be read" in err and "1.csv, line 3: a quote is not closed" in err
    assert len(pd.read_csv(tmp_path / "out/1.csv")) == 3
    assert predict_all("again", "--processes", 1, "--keep-going") == 0


@pytest.mark.slow
def test_processes_and_killed_workers_of_a_cluster_change_no_byte(
    predict_all, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict_all("one", "--processes", 1) == predict_all("two", "--processes", 2) == 0
    with two_workers() as cluster:
        killed = kill_workers(cluster, monkeypatch, bulk)
        assert predict_all("there", "--cluster", cluster.scheduler_address) == 0
    assert len({*killed}) == 2
    assert files(tmp_path / "one") == files(tmp_path / "two") == files(tmp_path / "there")


def test_finished_shards_are_left_and_changed_ones_written_again(
    predict_all, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_all("out", "--processes", 1) == 0
    before = files(tmp_path / "out")
    (tmp_path / "out/0.parquet").unlink()
    later = (tmp_path / "out/1.csv").stat().st_mtime + 5
    os.utime(shards / "1.csv", (later, later))
    capsys.readouterr()
    assert predict_all("out", "--processes", 1) == 0
    assert "wrote 2 files" in capsys.readouterr().out
    assert predict_all("out", "--processes", 1, "--top", 1) == 1  # answers are not mixed
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "another model or other options" in err
    assert files(tmp_path / "out") == before


def test_a_shard_that_cannot_be_read_is_named_and_the_finished_ones_stay(
    predict_all, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shards / "5.csv.gz").write_bytes((shards / "5.csv.gz").read_bytes()[:-20])
    assert predict_all("out", "--processes", 1) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "5.csv.gz: broken gzip" in err
    assert {"0.parquet", "1.csv"} < files(tmp_path / "out").keys()
    assert "5.csv.gz" not in files(tmp_path / "out")


def test_the_output_is_never_inside_the_input(predict_all, shards: Path, capsys) -> None:
    before = files(shards)
    for output in ("shards", "shards/out"):
        assert predict_all(output) == 1
        assert "is inside the input" in capsys.readouterr().err
    assert files(shards) == before


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_was(
    predict_all, onnx_folder: Path, tmp_path: Path, shards: Path, start
) -> None:
    for n in range(40):
        pd.DataFrame({"name": [f"{n:x}{k:x}" for k in range(2000)]}).to_csv(
            shards / f"big{n}.csv", index=False
        )
    program = (sys.executable, "-m", "stages.commands.cli", "predict", "--model", onnx_folder)
    options = ("--input", shards, "--output", tmp_path / "out", "--processes", "2")
    process = start(ROOT, *program, *options)
    while len([*tmp_path.glob("out/*.csv")]) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert error == "onoma: terminated\n"
    assert predict_all("out", "--processes", 1) == predict_all("whole", "--processes", 1) == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_dash_as_output_is_a_csv_on_standard_output(
    predict, people: Path, tmp_path: Path, capsys
) -> None:
    arguments = ["--input", people, "--column", "surname", "--output"]
    assert predict(*arguments, tmp_path / "o.csv") == 0
    capsys.readouterr()
    assert predict(*arguments, "-") == 0
    out, err = capsys.readouterr()
    assert out == (tmp_path / "o.csv").read_text()
    assert "9 rows, 8 names computed" in err


def test_options_of_reading_and_a_prefix_for_the_new_columns(predict, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("Abe;1\nM\xfcller;2\n", encoding="cp1252")
    arguments = ["--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv", "--top", 1]
    reading = ["--no-header", "--column", 1, "--separator", ";", "--encoding", "cp1252"]
    assert predict(*arguments, *reading, "--prefix", "our_") == 0
    found = read(tmp_path / "out.csv")
    assert found[["1", "2"]].to_numpy().tolist() == [["Abe", 1], ["Müller", 2]]
    ours = [*ANSWERS, "country_1", "probability_1"]
    assert list(found)[2:] == [f"our_{name}" for name in ours]
