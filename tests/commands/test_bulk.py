"""`onoma predict --input`: files and folders, every distinct name once, never a clobbered input."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.commands import bulk, cli
from stages.corpus import tables
from stages.serving import columns
from stages.serving.columns import Answerer
from stages.serving.onnx_bundle import load
from tests.clusters import kill_workers, two_workers
from tests.conftest import contents
from tests.serving.made import save_model

NAMES = ["Abe", "Müller", "1234", "", "O'Brien", "Иванов", "佐藤", "x" * 50, "Abe"]
ANSWERS = ["country", "probability", "reason", "set"]


@pytest.fixture
def predict(onnx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `onoma predict` in a folder of the test's own; returns the exit status."""
    monkeypatch.chdir(tmp_path)

    def run(source: str, target: str, options: str = "", model: Path = onnx_folder) -> int:
        files = ["--model", str(model), "--input", source, "--output", target]
        return cli.main(["predict", *files, *options.split()])

    return run


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    frame = pd.DataFrame({"id": range(len(NAMES)), "name": NAMES})
    frame.to_csv(path, index=False, quoting=1)
    return path


def read(path: str) -> pd.DataFrame:
    if path.endswith("parquet"):
        return pd.read_parquet(path)
    return pd.read_csv(path, keep_default_na=False)


def test_a_table_comes_back_with_the_apis_answers(
    predict, people: Path, onnx_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("people.csv", "out.csv.gz", "--top 2 --abstain 0.9") == 0
    assert "9 rows, 8 names computed" in capsys.readouterr().out
    found = read("out.csv.gz").replace("", None)
    wanted = load(onnx_folder).frame(NAMES, top=2, abstain=0.9)
    wanted["set"] = wanted["set"].map("|".join).replace("", None)
    new = [*ANSWERS, "country_1", "probability_1", "country_2", "probability_2"]
    assert list(found) == ["id", "name", *new]
    numbers = {name: float for name in new if "probability" in name}
    pd.testing.assert_frame_equal(
        found[new].astype(numbers), wanted[new], check_dtype=False, rtol=0, atol=6e-5
    )
    assert predict("people.csv", "-", "--top 2 --abstain 0.9") == 0
    out, err = capsys.readouterr()  # a dash is standard output
    assert out == gzip.decompress(Path("out.csv.gz").read_bytes()).decode()
    assert "9 rows, 8 names computed" in err


def test_given_names_come_in_a_column_of_their_own(predict, tmp_path: Path, capsys) -> None:
    groups = {"Alps": ["Austria", "Belgium"], "Other": ["Chad", "Denmark"]}
    folder = save_model(tmp_path / "full", names="both", temperatures=[1.0, 1.5], groups=groups)
    people = pd.DataFrame({"first": ["Angela", "", "Bob"], "last": ["Abe", "Abe", ""]})
    people.to_csv("in.csv", index=False)
    assert predict("in.csv", "out.parquet", "--surname last --given first", folder) == 0
    found = read("out.parquet")
    wanted = load(folder).frame(people, surname="last", given="first")
    assert found["kind"].tolist()[:2] == ["full name", "surname"]
    columns = [*ANSWERS[:3], "group", "group_probability", "kind"]
    pd.testing.assert_frame_equal(
        found[columns], wanted[columns], check_dtype=False, rtol=0, atol=6e-5
    )
    assert predict("in.csv", "out.parquet", "--surname last --given firts", folder) == 1
    assert "no column 'firts'; use --given, one of: first, last" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_no_row_is_lost(predict, target: str, capsys) -> None:
    Path("in.csv").write_bytes(b'name,id\nAbe,1\nBob\n"Cab,3\nDad,4,5\nM\xfcller,6\nBea,7\n')
    assert predict("in.csv", target, "--top 1") == 1
    out, err = capsys.readouterr()
    assert "6 rows, 2 names computed, 0 rows with an unusable name" in out
    assert "onoma: 4 rows cannot be read; in.csv, line 3: 1 fields instead of 2" in err
    found = read(target)
    assert found["name"].tolist() == ["Abe", "Bob", '"Cab,3', "Dad,4,5", "M\\xfcller,6", "Bea"]
    whys = ["1 fields instead of 2", "a quote is not closed", "3 fields instead of 2", "not UTF-8"]
    assert found["reason"].tolist()[1:5] == whys
    assert found["country_1"].replace("", None).notna().tolist() == [True, *[False] * 4, True]
    assert predict("in.csv", target, "--top 1 --keep-going") == 0


def test_parquet_in_whatever_way_text_is_stored(predict, onnx_folder: Path) -> None:
    names = [*NAMES, None]
    wanted = [answer.country for answer in load(onnx_folder).predict(names)]
    kinds = [pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.binary()]
    for kind in (pa.string(), *kinds, pa.string_view()):
        table = pa.table({"name": pa.array(names, pa.string()).cast(kind), "n": range(10)})
        pq.write_table(table, "in.parquet")
        assert predict("in.parquet", "out.parquet") == 0
        found = pq.read_table("out.parquet")
        assert found.select(["name", "n"]).cast(table.schema).equals(table)
        assert found["country"].to_pylist() == wanted


def test_numbers_are_no_names_and_those_of_a_wrong_encoding_have_no_answer(predict, capsys) -> None:
    pq.write_table(pa.table({"name": [b"M\xfcller", b"Abe"], "age": [1, 2]}), "in.parquet")
    assert predict("in.parquet", "out.parquet", "--column age") == 1
    assert "int64, not text" in capsys.readouterr().err
    assert predict("in.parquet", "out.parquet") == 0
    assert read("out.parquet")["country"].isna().tolist() == [True, False]


@pytest.mark.parametrize("target", ["people.csv", "symlink.csv", "hardlink.csv", "here/people.csv"])
def test_input_is_never_the_output(predict, people: Path, target: str, capsys) -> None:
    before = people.read_bytes()
    Path("symlink.csv").symlink_to(people)
    Path("hardlink.csv").hardlink_to(people)
    Path("here").symlink_to(people.parent)
    assert predict("people.csv", target) == 1
    assert "is also the input" in capsys.readouterr().err
    assert people.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "target", "said"),
    [
        (b'"first\nline","\x1b[31mred"\na,b\n', "o.csv", "no column 'name'"),
        (b"name,country\nAbe,Japan\n", "o.csv", "give a --prefix for the new columns"),
        (b"name\nAbe\n", "o.xlsx", "must end in one of"),
    ],
)
def test_what_does_not_fit_is_one_line(
    predict, capsys, content: bytes, target: str, said: str
) -> None:
    Path("in.csv").write_bytes(content)
    assert predict("in.csv", target) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "\x1b" not in err and said in err
    assert [*Path().iterdir()] == [Path("in.csv")]


def test_options_of_reading_and_a_prefix_for_the_new_columns(predict) -> None:
    Path("in.csv").write_text("Abe;1\nM\xfcller;2\n", encoding="cp1252")
    reading = "--no-header --column 1 --separator ; --encoding cp1252"
    assert predict("in.csv", "out.csv", f"{reading} --top 1 --prefix our_") == 0
    found = read("out.csv")
    assert found[["1", "2"]].to_numpy().tolist() == [["Abe", 1], ["Müller", 2]]
    ours = [*ANSWERS, "country_1", "probability_1"]
    assert list(found)[2:] == [f"our_{name}" for name in ours]


def test_a_name_is_computed_once_while_it_is_remembered(
    onnx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Answerer(load(onnx_folder))
    first, rows = answer(pa.array(["Abe", "Bob", "Abe", None, "Abe"]))
    assert answer.computed == 2 and first.names[rows].tolist() == ["Abe", "Bob", "Abe", None, "Abe"]
    second, rows = answer(pa.array(["Bob", "Abe", "Cab"]))
    assert answer.computed == 3 and second.names[rows].tolist() == ["Bob", "Abe", "Cab"]
    np.testing.assert_array_equal(second.probabilities[rows[:2]], first.probabilities[[1, 0]])
    monkeypatch.setattr(columns, "REMEMBERED", 10)
    answer = Answerer(load(onnx_folder))
    for start in range(0, 100, 5):
        names = [f"{n % 60:b}" for n in range(start, start + 5)]
        found, rows = answer(pa.array(names))
        assert found.names[rows].tolist() == names and len(answer._remembered.names) <= 15


def test_memory_is_bounded_whatever_the_file(predict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BATCH_BYTES", 2**14)
    peaks = []
    for rows in (2000, 40_000):
        lines = (f"{n % 500:b},some longer text in another one\n" for n in range(rows))
        Path("in.csv").write_text("name,note\n" + "".join(lines))
        default = pa.default_memory_pool()
        pool = pa.proxy_memory_pool(default)
        pa.set_memory_pool(pool)
        assert predict("in.csv", "out.csv") == 0
        pa.set_memory_pool(default)
        peaks.append(pool.max_memory())
    assert peaks[1] < 1.5 * peaks[0]


# Folders.

ALONE = "--processes 1"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Tables of all kinds, one of them in a folder of its own."""
    folder = tmp_path / "shards"
    (folder / "more").mkdir(parents=True)
    for n in range(9):
        frame = pd.DataFrame({"name": [f"{chr(97 + n)}{k % 50:b}" for k in range(200)]})
        if n % 3 == 0:
            frame.to_parquet(folder / f"{n}.parquet")
        else:
            frame.to_csv(folder / f"{'more/' * (n == 4)}{n}.csv{'.gz' * (n % 3 - 1)}", index=False)
    (folder / "notes.txt").write_text("not a table")
    return folder


def files(folder: str) -> dict[str, bytes]:
    """Every file by its path in the folder."""
    return {name.removeprefix(f"{folder}/"): data for name, data in contents(folder).items()}


def test_each_shard_gets_the_answers_of_a_file_of_its_own(predict, shards: Path) -> None:
    assert predict("shards", "out", ALONE) == 0
    assert predict("shards/**/*.csv", "globbed", ALONE) == 0
    there = files("out")
    assert there.keys() - {bulk.RECORD} == files("shards").keys() - {"notes.txt"}
    expected = {name: there[name] for name in ("1.csv", "more/4.csv", "7.csv")}
    assert files("globbed").items() >= expected.items()
    assert predict("shards/3.parquet", "one.parquet") == 0
    # On several threads: batches of other names may give other last digits.
    alike = {"check_exact": False, "rtol": 0, "atol": 1.01e-4}
    pd.testing.assert_frame_equal(read("one.parquet"), read("out/3.parquet"), **alike)


@pytest.mark.slow
def test_processes_and_a_killed_worker_of_a_cluster_change_no_byte(
    predict, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict("shards", "one", ALONE) == predict("shards", "two", "--processes 2") == 0
    with two_workers() as cluster:
        killed = kill_workers(cluster, monkeypatch)
        assert predict("shards", "there", f"--cluster {cluster.scheduler_address}") == 0
    assert len(killed) == 1
    assert files("one") == files("two") == files("there")


def test_finished_shards_are_left_and_changed_ones_written_again(
    predict, shards: Path, capsys
) -> None:
    assert predict("shards", "out", ALONE) == 0
    before = files("out")
    Path("out/0.parquet").unlink()
    later = Path("out/1.csv").stat().st_mtime + 5
    os.utime("shards/1.csv", (later, later))
    capsys.readouterr()
    assert predict("shards", "out", ALONE) == 0
    assert "wrote 2 files" in capsys.readouterr().out
    assert predict("shards", "out", f"{ALONE} --top 1") == 1  # answers are not mixed
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "another model or other options" in err
    assert files("out") == before


def test_what_cannot_be_read_is_named_and_the_finished_shards_stay(
    predict, shards: Path, capsys
) -> None:
    for number in (1, 7):
        (shards / f"{number}.csv").write_bytes(b'name\nAbe\n"Bob\nCab,1\n')
    assert predict("shards", "out", ALONE) == 1
    err = capsys.readouterr().err
    assert "4 rows cannot be read" in err and "1.csv, line 3: a quote is not closed" in err
    (shards / "5.csv.gz").write_bytes((shards / "5.csv.gz").read_bytes()[:-20])
    assert predict("shards", "broken", ALONE) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "5.csv.gz: broken gzip" in err
    assert {"0.parquet", "1.csv"} < files("broken").keys()
    assert "5.csv.gz" not in files("broken")


@pytest.mark.parametrize("target", ["shards", "shards/out"])
def test_the_output_is_never_inside_the_input(predict, shards: Path, target: str, capsys) -> None:
    before = files("shards")
    assert predict("shards", target) == 1
    assert "is inside the input" in capsys.readouterr().err
    assert files("shards") == before
