"""From names as written to answers, whatever engine computes the logits."""

import pickle
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax

from stages.core.errors import UserError
from stages.core.text import UNSURE
from stages.corpus.normalize import Rejected
from stages.corpus.vocabulary import Vocabulary
from stages.serving.engine import BATCH_CODES, Logits
from stages.serving.prediction import Prediction
from stages.serving.predictor import Predictor
from tests.serving.made import config, held_out, known_ngrams

VOCABULARY = Vocabulary("fold", ("LATIN",), tuple("abc"))
A = VOCABULARY.code("a")


def counting_a(codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Logits of a model for which each "a" speaks for the first of two countries."""
    count = (codes == A).sum(axis=1)
    return np.stack([count, np.ones_like(count)], axis=1).astype(np.float32)


def four(codes: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.tile(np.arange(4, dtype=np.float32), (len(codes), 1))


def predictor(
    logits: Logits = counting_a,
    countries: Sequence[str] = "AB",
    threads: int = 1,
    files: Sequence[Path] = (),
    **changes: object,
) -> Predictor:
    """A model for names of a, b and c; its countries are letters."""
    values = {"vocabulary": VOCABULARY, "countries": tuple(countries), "max_length": 9}
    values["temperatures"] = [1.0, 1.0] if changes.get("names") == "both" else [1.0]
    return Predictor(logits, config(**(values | changes)), threads, files)


@pytest.fixture
def model() -> Predictor:
    return predictor(countries=("Aland", "Other"), temperatures=[0.5])


def test_answers_come_in_the_order_of_the_names(model: Predictor) -> None:
    names = ["aaa", "b", "ab", "aa", "bbbb"]
    answers = model.predict(names, top=2)
    assert [answer.name for answer in answers] == names
    assert [answer.country for answer in answers] == ["Aland", "Other", "Aland", "Aland", "Other"]
    assert all(sum(p for _, p in answer.top) == pytest.approx(1) for answer in answers)
    assert answers[0].probability == pytest.approx(1 / (1 + np.exp(-4)))
    best = model.classes_[model.predict_proba(names).argmax(axis=1)]
    assert best.tolist() == [answer.country for answer in answers]
    assert model.predict([]) == [] and model.predict_proba([]).shape == (0, 2)


def test_below_the_threshold_the_answer_is_unsure(model: Predictor) -> None:
    (unsure,) = model.predict(["a"], abstain=0.6)
    assert (unsure.country, unsure.probability) == (UNSURE, 0.5)
    assert model.predict(["a"], abstain=0.5)[0].country == "Aland"  # it reaches the threshold


# What callers have for names.

LISTS = (list, tuple, iter, np.array, pd.Series, pd.Index, pd.Categorical, pd.array)
NO_NAMES = {
    "missing name": [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT],
    "not a text": [5, 5.5, b"a", ["a"], object(), pd.Timestamp(0), np.zeros(3)],
    "empty name": ["", " ", "\u200b"],
    "name longer than 9 characters": ["a" * 10],
    "control character in name": ["a\0", "\ud800"],
}


@pytest.mark.parametrize("container", LISTS)
def test_names_come_in_any_container_of_one_dimension(model: Predictor, container: type) -> None:
    names = ["aaa", "b"]
    assert model.predict(container(names)) == model.predict(names)
    assert model.frame(container(names)).equals(model.frame(names))


@pytest.mark.parametrize(("reason", "value"), [(r, v) for r, vs in NO_NAMES.items() for v in vs])
def test_what_is_no_name_has_a_reason_and_costs_no_other_row(
    model: Predictor, reason: str, value: object
) -> None:
    first, bad, last = model.predict(["aaa", value, "b"])
    assert (first.country, last.country) == ("Aland", "Other")
    assert bad.name is value and bad.set == bad.top == []
    assert [field for field in bad[1:] if field not in (None, [])] == [bad.reason] == [reason]
    table = model.predict_proba(["aaa", value, "b"])
    assert np.isnan(table).all(axis=1).tolist() == [False, True, False]
    for ask in (model.predict, model.predict_proba, model.frame):
        with pytest.raises(Rejected, match=f"^name 2: {reason}"):
            ask(["aaa", value, "b"], errors="raise")


TABLE = pd.DataFrame({"last": ["a"], "city": ["b"]})
REFUSED = [
    *(({"names": text}, TypeError, r"predict\(\[name\]\)") for text in ("Müller", b"abc")),
    ({"names": TABLE}, TypeError, "table.*column.*, of last, city"),
    ({"names": {"last": "a"}}, TypeError, r"predict\(table\[column\]\), of last"),
    ({"names": np.array([["a", "b"]])}, ValueError, "one dimension"),
    *(({"top": top}, ValueError, "top must be 1 or more") for top in (0, -1)),
    *(({"top": top}, TypeError, None) for top in (1.5, "3", None)),
    *(({"abstain": share}, ValueError, "from 0 to 1") for share in (-0.1, 2, float("nan"))),
    ({"errors": "ignore"}, ValueError, "must be 'coerce' or 'raise'"),
    ({"given": ["a", "b"]}, ValueError, "1 names, but 2 given names"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), REFUSED)
def test_arguments_that_mean_nothing_are_refused(
    model: Predictor, arguments: dict, error: type, words: str | None
) -> None:
    for ask in (model.predict, model.frame):
        with pytest.raises(error, match=words):
            ask(**{"names": ["a"], **arguments})


def test_only_what_can_be_read_again_is_pickled(model: Predictor) -> None:
    with pytest.raises(TypeError, match=r"onoma\.load"):
        pickle.dumps(model)


def test_batches_stay_small_and_each_distinct_name_is_computed_once() -> None:
    seen: list[tuple[int, ...]] = []

    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        seen.append(codes.shape)
        return counting_a(codes)

    model = predictor(logits, max_length=BATCH_CODES)
    names = ["a" * n + "b" * (900 - n) for n in range(10)]
    names += [f"{chr(0x4E00 + n)}a" for n in range(3000)]
    assert len(model.predict_proba([*names, "a" * BATCH_CODES, *names])) == 6021
    assert sum(batch for batch, _ in seen) == 3011
    assert max(batch * length for batch, length in seen if batch > 1) <= BATCH_CODES


def test_batches_are_computed_by_as_many_threads_as_asked_for() -> None:
    both = threading.Barrier(2, timeout=10)

    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        both.wait()  # breaks if the other batch waits for this one
        return counting_a(codes)

    names = ["aa", "abb"]  # of two lengths, hence in two batches
    parallel = predictor(logits, threads=2).predict_proba(names)
    np.testing.assert_array_equal(parallel, predictor().predict_proba(names))


def test_frame_has_the_answers_as_columns(model: Predictor) -> None:
    frame = model.frame(["aaa", "a", None], top=2, abstain=0.6)
    ranks = ["country_1", "probability_1", "country_2", "probability_2"]
    assert list(frame) == list(model.frame([], top=2)) == [*Prediction._fields[:-1], *ranks]
    assert frame["country"].tolist()[:2] == ["Aland", UNSURE]
    assert frame["country_2"].tolist()[:2] == ["Other", "Other"]
    numbers = [name for name in frame if "probability" in name]
    for table in (frame, model.frame([None]), model.frame([])):
        assert {*table[numbers].dtypes} == {np.dtype(float)}
    for name in ("country", "probability", *ranks):
        assert frame[name].isna().tolist() == [False, False, True]
    three = predictor(four, "ABCD").frame(pd.Series(["a", "b"], index=[2, 0]))
    assert list(three)[-2:] == ["country_3", "probability_3"] and three.index.tolist() == [2, 0]


def test_occlusion_shows_the_characters_that_moved_the_decision(model: Predictor) -> None:
    name, country, effects = model.occlusion(" aab ")
    assert (name, country) == ("Aab", "Aland")
    assert effects.shape == (3,)
    assert effects[0] == effects[1] > 0
    assert effects[2] == pytest.approx(0)
    (effect,) = model.occlusion("b").effects  # compared with knowing nothing
    assert effect == pytest.approx(model.predict_proba(["b"]).max() - 1 / 2)


def test_a_set_has_the_countries_above_their_thresholds_and_a_strange_name_is_unfamiliar() -> None:
    rows = held_out(
        200,
        4,
        thresholds=np.array([[0.05, 0.05, 0.9, 0.05]]),
        scripts=np.zeros(200),
        measures=np.tile([1.0, 3.0], (200, 1)),  # known n-grams only, and an energy of 3
        ngrams=known_ngrams(VOCABULARY, "Aaaa", "Bbbb"),
    )

    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of energy 3.01 for names with an "a", else 2.99."""
        energy = np.where((codes == A).any(axis=1), 3.01, 2.99)[:, None]
        return (log_softmax(four(codes), axis=1) + energy).astype(np.float32)

    # Familiar; unknown n-grams; less energy than the held-out rows; no name; of another script.
    answers = predictor(logits, "ABCD", held_out=rows).predict(["aaaa", "acac", "bbbb", "", "Ж"])
    reasons = [None, "unfamiliar", "unfamiliar", "empty name", "script"]
    assert [answer.reason for answer in answers] == reasons
    assert [answer.country for answer in answers] == ["D", UNSURE, UNSURE, None, UNSURE]
    # The most probable country first: 0.64 and 0.09; C has 0.24, below 0.9.
    assert [answer.set for answer in answers[:4]] == [["D", "B"]] * 3 + [[]]


def test_the_hash_of_a_model_is_that_of_all_its_files(tmp_path: Path) -> None:
    files = (tmp_path / "config.json", tmp_path / "weights")
    hashes = set()
    for contents in (("a", "b"), ("c", "b"), ("a", "d")):
        for path, content in zip(files, contents, strict=True):
            path.write_text(content)
        hashes.add(predictor(files=files).model_hash)
    assert len(hashes) == 3


def test_without_held_out_rows_there_are_no_shares() -> None:
    with pytest.raises(UserError, match=r"index\.calibration above 0"):
        predictor().shares(["a"])


# Full names.

FULL = {"names": "both", "max_length": 30}


@pytest.mark.parametrize(
    ("names", "name", "read_as", "kind"),
    [
        ("both", "Cab Abba", None, "full name"),
        ("both", "Abba, Dr. Cab", "Cab Abba", "full name"),
        ("both", "C. Abba", "Abba", "surname"),
        ("both", "ABBA", None, "surname"),
        ("full", "Cab", None, "full name"),
        ("surnames", "Abba Cab", "Cab", "surname"),
        ("surnames", "Cab", None, "surname"),
    ],
)
def test_what_was_asked_is_said(names: str, name: str, read_as: str | None, kind: str) -> None:
    model = predictor(**FULL | {"names": names})
    (answer,) = model.predict([name], full_names=True)
    assert (answer.name, answer.read_as, answer.kind) == (name, read_as, kind)
    (alone,) = model.predict([read_as or name])
    assert answer.top == alone.top
    assert (model.predict([name])[0] == answer) == (names != "surnames" or not read_as)
    (digit,) = model.predict(["a1"])
    assert digit.reason == ("not a surname" if names == "surnames" else "not a name")


def test_given_names_come_in_a_column_of_their_own() -> None:
    model = predictor(**FULL)
    last = ["Abba", "Abba", "Abba", None, "Abba", ""]
    people = pd.DataFrame(
        {"first": ["Cab", "", None, "Cab", 5, "Cab"], "last": last}, index=range(9, 3, -1)
    )
    table = model.frame(people, given="first", surname="last")
    assert table.index.tolist() == people.index.tolist()
    assert table["name"][9] == "Cab Abba"
    assert table["reason"].tolist()[3:] == ["missing name", "not a text", "empty name"]
    wanted = model.predict_proba(["Cab Abba", "Abba", "Abba", *[None] * 3])
    separate = model.predict_proba(people["last"], given=people["first"])
    np.testing.assert_array_equal(separate, wanted)
    of_surnames = predictor()  # to which given names say nothing
    assert of_surnames.predict(["Cab"], given=["Aa"])[0].top == of_surnames.predict(["Cab"])[0].top


def test_each_kind_of_name_has_its_own_temperature_and_thresholds() -> None:
    rows = held_out(10, 2, thresholds=np.array([[0.5, 0.5], [0.0, 0.0]]))
    model = predictor(held_out=rows, temperatures=[0.5, 2.0], **FULL)
    surname, full = model.predict(["Caa", "Caa Bb"])
    assert (surname.set, full.set) == (["A"], ["A", "B"])
    assert surname.probability == pytest.approx(1 / (1 + np.exp(-2)))
    assert full.probability == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_an_answer_has_the_group_of_its_country() -> None:
    grouped = predictor(four, "ABCD", groups={"West": ["A", "D"], "East": ["B", "C"]})
    answer, *others = grouped.predict(["a", "Ж", "a1", ""], abstain=1)
    shares = dict(zip("ABCD", grouped.predict_proba(["a"])[0], strict=True))
    assert (answer.reason, answer.group) == ("ambiguous", "West")
    assert answer.group_probability == pytest.approx(shares["A"] + shares["D"])
    others += predictor(four, "ABCD", groups={"East": ["B", "C"]}).predict(["a"])
    # An answer that says nothing about countries, or of one without a group.
    assert {(other.group, other.group_probability) for other in others} == {(None, None)}
