import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import index
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from tests.conftest import ROOT, set_params, toy_rows


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give a function that indexes rows and returns what the stage wrote."""
    monkeypatch.chdir(tmp_path)
    for path in ROOT.glob("*.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "data/clean").mkdir(parents=True)

    def build(train: list, test: list, chunk: int = 2**20, **params: object) -> dict:
        set_params(tmp_path, **({"index__calibration": 0.0} | params))
        for split, rows in (("train", train), ("test", test)):
            frame = pd.DataFrame(rows, columns=["name", "country"])
            frame.to_parquet(f"data/clean/{split}.parquet", row_group_size=chunk)
        index.main()
        folder = Path("data/index")
        config = json.loads((folder / "vocabulary.json").read_text())
        splits = {path.name: Names.load(path) for path in folder.iterdir() if path.is_dir()}
        return {
            "vocabulary": Vocabulary.from_config(config["vocabulary"]),
            "countries": config["countries"],
            "bytes": {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()},
            **splits,
        }

    return build


def rows_of(names: Names, vocabulary: Vocabulary, countries: list[str]) -> list[tuple[str, str]]:
    """Undo the index for names of known characters."""
    letters = {vocabulary.code(letter): letter for letter in vocabulary.characters}
    return [
        (
            "".join(
                letters[c] for c in names.codes[names.offsets[n] + 1 : names.offsets[n + 1] - 1]
            ),
            countries[names.labels[n]],
        )
        for n in range(len(names))
    ]


def test_every_row_comes_back_in_its_order(build) -> None:
    train, test = toy_rows(200, 1), toy_rows(50, 2)
    found = build(train, test, index__min_count=1)
    assert rows_of(found["train"], found["vocabulary"], found["countries"]) == train
    assert rows_of(found["test"], found["vocabulary"], found["countries"]) == test
    assert "validation" not in found


def test_vocabulary_and_countries_come_from_train_alone(build) -> None:
    found = build([("ab", "A"), ("ba", "B")], [("abç", "A")], index__min_count=1)
    assert found["vocabulary"].characters == ("a", "b")
    assert found["countries"] == ["A", "B"]


def test_seen_marks_the_test_names_that_stand_in_train(build) -> None:
    found = build([("ab", "A"), ("ba", "B")], [("ba", "A"), ("bb", "B"), ("ab", "A")])
    assert found["test"].seen.tolist() == [True, False, True]


def test_validation_takes_whole_names_of_every_large_country_in_the_wanted_share(build) -> None:
    train = [(f"{c}{n}", c.upper()) for c in "ab" for n in range(100)] * 2 + [("only", "C")]
    found = build(train, [("a1", "A")], index__validation=0.2, index__min_count=1)
    back = [
        rows_of(found[s], found["vocabulary"], found["countries"]) for s in ("train", "validation")
    ]
    kept, held = (pd.DataFrame(rows, columns=["name", "country"]) for rows in back)
    assert not set(kept["name"]) & set(held["name"])
    assert sorted(map(tuple, pd.concat([kept, held]).to_numpy())) == sorted(train)
    assert held["country"].value_counts().to_dict() == {"A": 40, "B": 40}
    assert "only" in set(kept["name"])
    assert not found["validation"].seen.any()


def test_another_seed_holds_out_other_names(build) -> None:
    train = [(f"a{n}", "A") for n in range(200)]
    one, two = (
        build(train, [("a1", "A")], index__validation=0.2, index__seed=seed) for seed in (1, 2)
    )
    assert one["bytes"]["codes.npy"] != two["bytes"]["codes.npy"]


def test_a_name_that_was_held_out_counts_as_unseen(build) -> None:
    train = [(f"a{n}", "A") for n in range(50)]
    found = build(train, train, index__validation=0.5, index__min_count=1)
    held = set(rows_of(found["validation"], found["vocabulary"], found["countries"]))
    for row, seen in zip(train, found["test"].seen, strict=True):
        assert seen == (row not in held)


def test_calibration_takes_rows_of_what_validation_leaves(build) -> None:
    train = [(f"a{n % 300}", "A") for n in range(900)]
    found = build(train, train[:1], index__validation=0.2, index__calibration=0.1)
    sizes = {split: len(found[split]) for split in ("train", "validation", "calibration")}
    assert sum(sizes.values()) == 900
    assert 50 < sizes["calibration"] < 100
    held, kept = (
        {name for name, _ in rows_of(found[split], found["vocabulary"], found["countries"])}
        for split in ("calibration", "train")
    )
    assert held & kept, "a name may be in both: rows are held out, not names"


def test_a_single_row_is_trained_on_whatever_is_to_be_held_out(build) -> None:
    found = build([("ab", "A")], [("ab", "A")], index__validation=0.5, index__calibration=0.5)
    assert len(found["train"]) == 1
    assert not {"validation", "calibration"} & found.keys()


def test_the_same_rows_give_the_same_bytes(build) -> None:
    train = toy_rows(100, 1)
    assert build(train, train, index__validation=0.3)["bytes"] == build(train, train)["bytes"]


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.2, 0.0), (0.0, 0.2), (0.2, 0.2)])
def test_chunks_do_not_show(build, shares: tuple[float, float]) -> None:
    train, test = toy_rows(100, 1), toy_rows(30, 2)
    shares = {"index__validation": shares[0], "index__calibration": shares[1]}
    whole = build(train, test, **shares)
    assert build(train, test, chunk=7, **shares)["bytes"] == whole["bytes"]


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.floats(0.05, 0.5), st.floats(0, 1)
)
def test_the_share_that_is_held_out_of_a_country_is_exact_but_for_one_name(
    names, share, phase
) -> None:
    rows = len(names)
    records = np.zeros(rows, dtype=index.KEYS)
    records["key"] = np.arange(rows)  # all names differ
    records["country"] = [ord(name) for name in names]
    held = index.hold_out(records, share, phase, {})
    for country in set(names):
        mine = records["country"] == ord(country)
        assert abs(held[mine].sum() - share * (mine.sum() - 1)) <= 1 + 1e-9
        assert held[mine].sum() < mine.sum() or not mine.any()
