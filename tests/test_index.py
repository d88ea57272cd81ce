import json
import multiprocessing
import os
from collections import Counter
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from pytest import approx

from stages import index
from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.corpus.splits import HoldOut
from stages.corpus.vocabulary import Vocabulary
from tests.conftest import ROOT, contents, set_params, toy_rows


@pytest.fixture
def build(folder: Path):
    """Give a function that indexes rows and returns what the stage wrote."""
    (folder / "data/clean").mkdir(parents=True)

    def build(train: list, test: list, chunk: int = 2**20, **params: object) -> dict:
        set_params(folder, **({"index__calibration": 0.0} | params))
        for split, rows in (("train", train), ("test", test)):
            frame = pd.DataFrame(rows, columns=["name", "country"])
            frame.to_parquet(f"data/clean/{split}.parquet", row_group_size=chunk)
        index.main()
        index_ = Path("data/index")
        config = json.loads((index_ / "vocabulary.json").read_text())
        splits = {path.name: Names.load(path) for path in index_.iterdir() if path.is_dir()}
        return {
            "vocabulary": Vocabulary.from_config(config["vocabulary"]),
            "countries": config["countries"],
            "bytes": contents(index_),
            **splits,
        }

    return build


def rows_of(found: dict, split: str) -> list[tuple[str, str]]:
    """Undo the index for names of known characters."""
    names, countries = found[split], found["countries"]
    texts = found["vocabulary"].decode(names.codes, names.offsets)
    return [*zip(texts, (countries[label] for label in names.labels), strict=True)]


def test_every_row_comes_back_in_its_order_and_row_groups_do_not_show(build) -> None:
    train, test = toy_rows(200, 1), toy_rows(50, 2)
    found = build(train, test, index__min_count=1)
    assert build(train, test, chunk=31, index__min_count=1)["bytes"] == found["bytes"]
    assert (rows_of(found, "train"), rows_of(found, "test")) == (train, test)
    assert "validation" not in found


def test_vocabulary_and_countries_come_from_train_alone(build) -> None:
    found = build([("ab", "A"), ("ba", "B")], [("abç", "A")], index__min_count=1)
    assert found["vocabulary"].characters == ("a", "b")
    assert found["countries"] == ["A", "B"]


def test_held_out_are_rows_of_every_large_country_in_about_the_wanted_share(build) -> None:
    train = [(f"{c}{n}", c.upper()) for c in "ab" for n in range(1000)] * 2 + [("only", "C")]
    shares = {"index__validation": 0.2, "index__calibration": 0.1}
    found = build(train, [("a1", "A")], index__min_count=1, **shares)
    parts = {split: rows_of(found, split) for split in ("train", "validation", "calibration")}
    assert sorted(chain(*parts.values())) == sorted(train)
    assert ("only", "C") in parts["train"]
    for split, rows in (("validation", 400), ("calibration", 160)):
        assert {*parts["train"]} & {*parts[split]}, "rows are held out, not names"
        countries = Counter(country for _, country in parts[split])
        assert countries == {"A": approx(rows, 0.15), "B": approx(rows, 0.15)}


def test_a_name_that_was_held_out_counts_as_unseen(build) -> None:
    train = [(f"a{n}", "A") for n in range(50)]
    found = build(train, train, index__validation=0.5, index__min_count=1)
    held = set(rows_of(found, "validation"))
    for row, seen in zip(train, found["test"].seen, strict=True):
        assert seen == (row not in held)


def test_which_rows_are_held_out_is_the_same_on_any_machine() -> None:
    params = Params.load(ROOT / "params.yaml").index
    params = params.model_copy(update={"validation": 0.3, "calibration": 0.3, "seed": 1})
    names = pd.Series(
        ["Rossi", "Müller", "Иванов", "Nguyen", "O'Neil", "王", "Smith"], dtype="category"
    )
    assert HoldOut(params).split(names, 0).tolist() == [0, 0, 1, 0, 2, 2, 0]
    assert HoldOut(params).split(names, 10**12).tolist() == [2, 1, 0, 1, 2, 0, 2]
    other = HoldOut(params.model_copy(update={"seed": 2}))
    assert other.split(names, 10**12).tolist() != [2, 1, 0, 1, 2, 0, 2]


def test_no_country_loses_all_its_training_names_however_rows_are_grouped(build) -> None:
    names = [(chr(97 + n % 26), f"C{n:02}") for n in range(60)]
    train = [(a + "x" * k, c) for n, (a, c) in enumerate(names) for k in range(n % 3 + 1)]
    shares = {"index__validation": 0.5, "index__calibration": 0.5}
    found = build(train, train[:1], **shares)
    assert len(found["validation"]) and len(found["calibration"])
    assert {*found["train"].labels} == {*range(60)}
    assert build(train, train[:1], chunk=31, **shares)["bytes"] == found["bytes"]


def killed(build, target: object, name: str, *rows: list) -> None:
    """Index the rows in a process that is killed where it calls that function."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, lambda *_: os._exit(9))
        process = multiprocessing.get_context("fork").Process(target=build, args=rows)
        process.start()
        process.join()
    assert process.exitcode == 9


def test_an_index_that_was_killed_is_the_old_one_or_has_no_vocabulary(build) -> None:
    train, test = toy_rows(200, 1), toy_rows(50, 2)
    before = build(train, test)
    for name in ("replace", "append"):
        killed(build, index, name, test, train)
        assert len([*Path("data/index").glob(".new.*")]) == 1
        left = Names.load(Path("data/index/train"))
        assert left.codes.tolist() == before["train"].codes.tolist()
    assert build(train, test)["bytes"] == before["bytes"]
    assert not [*Path("data/index").glob(".new.*")]
    killed(build, Path, "rename", test, train)  # while it takes the old one's place
    assert not Path("data/index/vocabulary.json").exists()
