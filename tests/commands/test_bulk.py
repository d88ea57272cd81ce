"""`onoma predict --input`: whole files, every distinct name once, never a clobbered input."""

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.commands import cli
from stages.serving import columns
from stages.serving.columns import Answerer
from stages.serving.onnx_bundle import load
from tests.conftest import ROOT

NAMES = ["Abe", "Müller", "Abe", "", "O'Brien", "Иванов", "佐藤", "x" * 50, "Abe"]
NEW = [
    "country",
    "probability",
    "reason",
    "set",
    "country_1",
    "probability_1",
    "country_2",
    "probability_2",
]


@pytest.fixture
def predict(onnx_folder: Path):
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


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_table_comes_back_with_the_apis_answers(
    predict, people: Path, tmp_path: Path, onnx_folder: Path, suffix: str
) -> None:
    target = tmp_path / f"out{suffix}"
    arguments = ["--input", people, "--output", target, "--column", "surname", "--top", 2]
    assert predict(*arguments) == 0
    found = read(target)
    assert list(found) == ["id", "surname", *NEW]
    assert found["surname"].tolist() == NAMES
    usable = [row for row, name in enumerate(NAMES) if name and len(name) < 40]
    wanted = load(onnx_folder).frame([NAMES[row] for row in usable], top=2)
    for column in NEW:
        values = found[column].iloc[usable]
        if column == "set":
            assert values.tolist() == ["|".join(countries) for countries in wanted[column]]
        elif not column.startswith("probability"):
            assert values.fillna("").tolist() == wanted[column].fillna("").tolist()
        else:
            assert values.astype(float).to_numpy() == pytest.approx(wanted[column], abs=6e-5)
    for row in set(range(len(NAMES))) - set(usable):
        empty = found.loc[row, NEW]
        assert empty.isna().all() or (empty == "").all()


def test_counts_are_said(predict, people: Path, tmp_path: Path, capsys) -> None:
    with people.open("a") as file:
        file.write("9\n")
    predict("--input", people, "--output", tmp_path / "o.csv", "--column", "surname")
    out, err = capsys.readouterr()
    assert "10 rows, 7 names computed, 2 rows with an unusable name" in out
    assert err.count("\n") == 1
    assert f"1 rows cannot be read; {people}, line 11: 1 fields instead of 2" in err


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_no_row_is_lost(predict, tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.csv", tmp_path / f"out{suffix}"
    source.write_bytes(b'surname,id\nAbe,1\nBob\n"Cab,3\nDad,4,5\nM\xfcller,6\nBea,7\n')
    arguments = ["--input", source, "--output", target, "--column", "surname", "--top", 1]
    assert predict(*arguments) == 1
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


def test_rows_of_a_file_that_is_all_right_end_with_0(predict, tmp_path: Path, capsys) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('id;surname\n1;"Abe"\n2;Bob\n')
    arguments = ["--input", source, "--output", target, "--column", "surname"]
    assert predict(*arguments) == 1
    assert "separated by ';', set --separator" in capsys.readouterr().err
    assert predict(*arguments, "--separator", ";") == 0
    assert read(target)["surname"].tolist() == ["Abe", "Bob"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "option",
    ["--separator=ab", "--separator=a", '--separator="', "--separator=\x01", "--encoding=utf-16"],
)
def test_impossible_separators_and_encodings_are_wrong_usage(predict, option: str) -> None:
    with pytest.raises(SystemExit) as stop:
        predict("--input", "a.csv", "--output", "b.csv", option)
    assert stop.value.code == 2


def test_below_the_threshold_the_answer_is_unsure(predict, people: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.parquet"
    predict("--input", people, "--output", target, "--column", "surname", "--abstain", 1)
    found = read(target)
    assert set(found["country"].dropna()) == {"unsure"}
    assert "ambiguous" in set(found["reason"])
    assert "unsure" not in set(found["country_1"])


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


def test_missing_column_is_one_line_that_names_those_there_are(
    predict, people: Path, tmp_path: Path, capsys
) -> None:
    assert predict("--input", people, "--output", tmp_path / "o.csv") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "id, surname" in err
    assert not (tmp_path / "o.csv").exists()


def test_odd_column_names_do_not_spread_the_message_over_lines(
    predict, tmp_path: Path, capsys
) -> None:
    (tmp_path / "a.csv").write_text('"first\nline","\x1b[31mred"\na,b\n')
    assert predict("--input", tmp_path / "a.csv", "--output", tmp_path / "o.csv") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "\x1b" not in err


def test_columns_in_the_way_need_a_prefix(predict, tmp_path: Path, capsys) -> None:
    source, target = tmp_path / "a.csv", tmp_path / "b.csv"
    source.write_text("name,country\nAbe,Japan\n")
    assert predict("--input", source, "--output", target) == 1
    assert "--prefix" in capsys.readouterr().err
    assert predict("--input", source, "--output", target, "--prefix", "our_", "--top", 1) == 0
    ours = ["country", "probability", "reason", "set", "country_1", "probability_1"]
    assert list(read(target)) == ["name", "country", *(f"our_{name}" for name in ours)]


def test_numbers_are_no_names(predict, tmp_path: Path, capsys) -> None:
    pq.write_table(pa.table({"name": [1, 2]}), tmp_path / "a.parquet")
    assert predict("--input", tmp_path / "a.parquet", "--output", tmp_path / "b.csv") == 1
    assert "int64, not text" in capsys.readouterr().err


def test_binary_input_and_unwritable_output_are_one_line(
    predict, people: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "noise.csv").write_bytes(os.urandom(10_000))
    assert predict("--input", tmp_path / "noise.csv", "--output", tmp_path / "o.csv") == 1
    assert capsys.readouterr().err.count("\n") == 1
    there = people / "o.csv"
    assert predict("--input", people, "--output", there, "--column", "surname") == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_names_of_a_wrong_encoding_are_unusable_but_kept(predict, tmp_path: Path) -> None:
    source, target = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.table({"name": [b"M\xfcller", b"Abe"]}), source)
    assert predict("--input", source, "--output", target, "--top", 1) == 0
    found = pq.read_table(target).to_pydict()
    assert found["name"] == [b"M\xfcller", b"Abe"]
    assert [country is None for country in found["country"]] == [True, False]


def test_each_name_is_computed_once_within_and_across_chunks(onnx_folder: Path) -> None:
    answer = Answerer(load(onnx_folder))
    first = answer(pa.array(["Abe", "Bob", "Abe", None, "Abe"]))
    assert answer.computed == 2
    second = answer(pa.array(["Bob", "Abe", "Cab"]))
    assert answer.computed == 3
    assert second[1] == first[0] == first[2] and second[0] == first[1]
    assert np.isnan(answer.probabilities[first[3]]).all()


def test_remembered_answers_are_bounded(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "REMEMBERED", 10)
    answer = Answerer(load(onnx_folder))
    for start in range(0, 100, 5):
        answer(pa.array([f"a{n:b}" for n in range(start, start + 5)]))
        assert len(answer.probabilities) <= 15


@pytest.mark.slow
def test_a_stopped_run_leaves_the_old_output_and_no_rest(onnx_folder: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv.gz", tmp_path / "out.csv"
    lines = "".join(f"{n:x}\n" for n in range(10**6))
    source.write_bytes(gzip.compress(b"name\n" + lines.encode(), 1))
    target.write_text("old")
    program = [sys.executable, "-m", "stages.commands.cli", "predict", "--model", onnx_folder]
    process = subprocess.Popen(
        [*program, "--input", source, "--output", target],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(list(tmp_path.iterdir())) < 3 and process.poll() is None:
        time.sleep(0.02)  # until the unfinished file is there
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.stderr
    error = process.stderr.read()
    assert process.wait(30) == 143
    assert error == "onoma: terminated\n"
    assert target.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == [source, target]


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_file(onnx_folder: Path, tmp_path: Path) -> None:
    def peak(rows: int) -> float:
        source = tmp_path / "in.csv"
        with source.open("w") as file:
            file.write("name,note\n")
            file.writelines(
                f"{n % 5_000:b},some longer text in another column\n" for n in range(rows)
            )
        program = [sys.executable, "-m", "stages.commands.cli", "predict", "--model", onnx_folder]
        # From a small process: a child's peak begins with what its parent held when it forked.
        launcher = (
            "import resource, subprocess, sys\n"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
        )
        command = [*program, "--input", source, "--output", tmp_path / "out.parquet"]
        done = subprocess.run(
            [sys.executable, "-c", launcher, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return float(done.stdout)

    small, large = peak(400_000), peak(1_200_000)
    assert large < 600
    assert large < small + 60  # a file of 60 MB, held nowhere as a whole


def test_chunks_and_workers_do_not_change_the_answers(
    predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{chr(97 + n % 26)}{chr(97 + n % 7)}{n % 50:b}" for n in range(3000)]
    pq.write_table(pa.table({"name": names}), tmp_path / "in.parquet")
    predict("--input", tmp_path / "in.parquet", "--output", tmp_path / "a.parquet")
    monkeypatch.setattr("stages.corpus.tables.BATCH_ROWS", 100)
    monkeypatch.setattr(columns, "REMEMBERED", 10)
    predict("--input", tmp_path / "in.parquet", "--output", tmp_path / "b.parquet")
    first, second = (read(tmp_path / f"{n}.parquet") for n in "ab")
    assert first["country"].tolist() == second["country"].tolist()
    assert (first["probability"] - second["probability"]).abs().max() <= 1.01e-4
