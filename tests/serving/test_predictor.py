"""From names as written to answers, whatever engine computes the logits."""

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.corpus.normalize import Rejected
from stages.corpus.vocabulary import Vocabulary
from stages.serving.prediction import UNSURE
from stages.serving.predictor import BATCH_CODES, Logits, Predictor
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
    countries: str = "AB",
    max_length: int = 9,
    temperature: float = 1.0,
    **options: object,
) -> Predictor:
    """A model for names of a, b and c; its countries are letters."""
    held = options.pop("held_out", None)
    values = {"vocabulary": VOCABULARY, "countries": tuple(countries), "held_out": held}
    values |= {"max_length": max_length, "temperatures": [temperature]}
    return Predictor(logits, config(**values), **options)


@pytest.fixture
def model() -> Predictor:
    values = {"vocabulary": VOCABULARY, "countries": ("Aland", "Other"), "max_length": 9}
    return Predictor(counting_a, config(**values, temperatures=[0.5]))


def test_answers_come_in_the_order_of_the_names(model: Predictor) -> None:
    names = ["aaa", "b", "ab", "aa", "bbbb"]
    answers = model.predict(names, top=2)
    assert [answer.name for answer in answers] == names
    assert [answer.country for answer in answers] == ["Aland", "Other", "Aland", "Aland", "Other"]
    assert all(sum(p for _, p in answer.top) == pytest.approx(1) for answer in answers)
    assert answers[0].probability == pytest.approx(1 / (1 + np.exp(-4)))


def test_below_the_threshold_the_answer_is_unsure(model: Predictor) -> None:
    sure, unsure = model.predict(["aaa", "a"], abstain=0.6)
    assert (sure.country, unsure.country) == ("Aland", UNSURE)
    assert unsure.probability == 0.5
    assert model.predict(["a"], abstain=0.5)[0].country == "Aland"  # it reaches the threshold
    assert {country for country, _ in unsure.top} == {"Aland", "Other"}


def test_unusable_names_are_refused_by_number_or_become_nan(model: Predictor) -> None:
    with pytest.raises(Rejected, match="name 2: empty name"):
        model.predict(["a", " "])
    with pytest.raises(Rejected, match="name 2: empty name"):
        model.probabilities(["a", " "])
    table = model.probabilities(["a", " ", "a" * 10], unusable="nan")
    assert np.isnan(table).all(axis=1).tolist() == [False, True, True]


def test_nothing_asked_is_nothing_answered(model: Predictor) -> None:
    assert model.predict([]) == []
    assert model.probabilities([]).shape == (0, 2)


def recording() -> tuple[Predictor, list[tuple[int, ...]]]:
    """A model for long names, and the shapes of the batches that it is asked."""
    seen: list[tuple[int, ...]] = []

    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        seen.append(codes.shape)
        return counting_a(codes)

    return predictor(logits, max_length=999), seen


def test_batches_stay_small_however_long_the_names() -> None:
    model, seen = recording()
    names = ["a" * n + "b" * (900 - n) for n in range(10)]
    names += [f"{chr(0x4E00 + n)}a" for n in range(3000)]
    model.probabilities(names)
    assert sum(batch for batch, _ in seen) == 3010
    assert max(batch * length for batch, length in seen) <= BATCH_CODES
    one_too_long = predictor(max_length=9999)
    assert len(one_too_long.predict(["a" * BATCH_CODES, "b" * BATCH_CODES])) == 2


def test_batches_are_computed_by_as_many_threads_as_asked_for() -> None:
    both = threading.Barrier(2, timeout=10)

    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        both.wait()  # breaks if the other batch waits for this one
        return counting_a(codes)

    names = ["aa", "abb"]  # of two lengths, hence in two batches
    parallel = predictor(logits, threads=2).probabilities(names)
    seen = []
    alone = predictor(lambda codes: seen.append(threading.current_thread()) or counting_a(codes))
    np.testing.assert_array_equal(alone.probabilities(names), parallel)
    assert seen == [threading.current_thread()] * 2


def test_each_distinct_name_is_computed_once_and_answers_keep_their_order() -> None:
    model, seen = recording()
    names = ["aab", "b", "aab", "ab", "b"]
    each = np.concatenate([model.probabilities([name]) for name in names])
    seen.clear()
    np.testing.assert_array_equal(model.probabilities(names), each)
    assert sum(batch for batch, _ in seen) == 3


def test_frame_has_the_answers_as_columns(model: Predictor) -> None:
    frame = model.frame(["aaa", "a"], top=2, abstain=0.6)
    assert list(frame) == [
        *("name", "country", "probability", "reason", "set"),
        *("country_1", "probability_1", "country_2", "probability_2"),
    ]
    assert frame["country"].tolist() == ["Aland", UNSURE]
    assert model.frame(["a"])["country"].tolist() == ["Aland"]  # no threshold unless asked for
    assert model.answers(["a"])[0].country == "Aland"
    assert frame["country_2"].tolist() == ["Other", "Other"]


def test_three_countries_are_listed_unless_another_number_is_asked_for(model: Predictor) -> None:
    four_countries = predictor(four, "ABCD")
    for (answer,) in (four_countries.predict(["a"]), four_countries.answers(["a"])):
        assert [country for country, _ in answer.top] == ["D", "C", "B"]
    assert list(four_countries.frame(["a"]))[-2:] == ["country_3", "probability_3"]
    (none,) = four_countries.predict(["a"], top=0)
    assert (none.country, none.top) == ("D", [])
    assert [country for country, _ in model.predict(["a"])[0].top] == ["Aland", "Other"]  # a tie


def test_the_surname_of_a_full_name_is_found_if_asked_for(model: Predictor) -> None:
    whole, surname = (model.predict(["aa bbbb"], full_names=full)[0] for full in (False, True))
    assert (whole.country, surname.country) == ("Aland", "Other")
    assert surname.name == "aa bbbb"
    assert model.answers(["aa bbbb"])[0] == whole


def test_occlusion_shows_the_characters_that_moved_the_decision(model: Predictor) -> None:
    name, country, effects = model.occlusion(" aab ")
    assert (name, country) == ("Aab", "Aland")
    assert effects.shape == (3,)
    assert effects[0] == effects[1] > 0
    assert effects[2] == pytest.approx(0)


def test_occlusion_of_a_single_character_compares_with_knowing_nothing(model: Predictor) -> None:
    (effect,) = model.occlusion("b").effects
    assert effect == pytest.approx(model.probabilities(["b"]).max() - 1 / len(model.countries))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("ab", None), ("Ж", "script"), ("a, b", "not a surname"), ("a1", "not a surname")],
)
def test_a_reason_makes_the_answer_unsure(model: Predictor, name: str, reason: str | None) -> None:
    (answer,) = model.predict([name])
    assert answer.reason == reason
    assert (answer.country == UNSURE) == (reason is not None)


def test_without_held_out_rows_sets_are_empty_and_nothing_is_unfamiliar(model: Predictor) -> None:
    assert [(a.set, a.reason) for a in model.predict(["ab", "cccc"])] == [([], None)] * 2


def test_a_name_written_otherwise_gets_the_same_answer(model: Predictor) -> None:
    first, *others = model.predict(["Cab", "CAB", "cab", " Cab "])
    assert all(other[1:] == first[1:] for other in others)


def with_held_out_rows() -> Predictor:
    """A model whose held-out rows have known n-grams only, and an energy of 3."""
    rows = held_out(
        200,
        4,
        thresholds=np.array([[0.05, 0.05, 0.9, 0.05]]),
        scripts=np.zeros(200),
        measures=np.tile([1.0, 3.0], (200, 1)),
        ngrams=known_ngrams(VOCABULARY, "Aaaa", "Bbbb"),
    )

    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of energy 3.01 for names with an "a", else 2.99."""
        energy = np.where((codes == A).any(axis=1), 3.01, 2.99)[:, None]
        plain = four(codes)
        return plain - np.log(np.exp(plain).sum(axis=1, keepdims=True)) + energy

    return predictor(logits, "ABCD", held_out=rows)


def test_a_set_has_the_countries_above_their_thresholds_the_most_probable_first() -> None:
    first, unusable, second = with_held_out_rows().answers(["aaaa", "", "bbbb"])
    assert isinstance(unusable, Rejected)
    assert first.set == second.set == ["D", "B"]  # 0.64 and 0.09; C has 0.24, below 0.9


def test_names_with_unknown_ngrams_or_less_energy_than_held_out_ones_are_unfamiliar() -> None:
    familiar, ngrams, energy = with_held_out_rows().predict(["aaaa", "acac", "bbbb"])
    assert [familiar.reason, ngrams.reason, energy.reason] == [None, "unfamiliar", "unfamiliar"]
    assert (ngrams.country, ngrams.set) == (UNSURE, ["D", "B"])


def test_the_hash_of_a_model_is_that_of_all_its_files(tmp_path: Path) -> None:
    files = (tmp_path / "config.json", tmp_path / "weights")
    hashes = set()
    for contents in (("a", "b"), ("c", "b"), ("a", "d")):
        for path, content in zip(files, contents, strict=True):
            path.write_text(content)
        hashes.add(predictor(four, "ABCD", files=files).model_hash)
    assert len(hashes) == 3 and {len(found) for found in hashes} == {12}


def test_logits_that_are_no_numbers_are_blamed_on_the_weights() -> None:
    files = (Path("config.json"), Path("weights"))
    for temperature, value in ((1.0, np.nan), (1e-3, 3e38)):

        def damaged(codes: NDArray[np.int64], value: float = value) -> NDArray[np.float32]:
            return np.full((len(codes), 2), value, dtype=np.float32)

        with pytest.raises(UserError, match=r"^weights: its answers are no numbers"):
            predictor(damaged, temperature=temperature, files=files).predict(["a"])


def test_large_logits_do_not_overflow() -> None:
    large = predictor(lambda codes: 1000 * four(codes), "ABCD")
    assert large.predict(["a"])[0].probability == 1


def test_an_answer_in_json_has_objects_for_its_most_probable_countries(model: Predictor) -> None:
    (answer,) = model.predict(["aaa"], top=1)
    assert answer.to_json() == {
        **{"name": "aaa", "country": "Aland", "reason": None, "set": []},
        "probability": answer.probability,
        "top": [{"country": "Aland", "probability": answer.probability}],
    }


def test_shares_are_those_of_the_names_and_say_which_model_answered() -> None:
    model = with_held_out_rows()
    shares = model.shares(["aaaa"] * 3 + ["acac"])
    assert (shares["names"], shares["unsure"]) == (4, {"unfamiliar": 1})
    assert (shares["model"], shares["population"]) == (model.model_hash, "made-up names")
    assert sum(row["share"] for row in shares["shares"]) == pytest.approx(1, abs=1e-4)
    with pytest.raises(UserError, match=r"index\.calibration above 0"):
        predictor().shares(["a"])
