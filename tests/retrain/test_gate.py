import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from stages.retrain.gate import Answers, judge, paired_bootstrap
from stages.core.params import GateParams

COUNTRIES = ("Aland", "Bland", "Cland")
PARAMS = GateParams(
    confidence=0.95,
    resamples=500,
    seed=1,
    accuracy_margin=0.0,
    macro_f1_margin=-0.01,
    baseline_margin=0.0,
    floor_support=50,
    floor_f1=0.2,
    floor_drop=0.15,
    floor_coverage=0.7,
)
NO_BAR = {"accuracy": 0.0, "macro_f1": 0.0}
ROWS = 1200


def answers(predictions: NDArray[np.int64], countries: tuple[str, ...] = COUNTRIES) -> Answers:
    """A model that is sure of each prediction; -1 is an unusable name."""
    table = np.eye(len(countries))[predictions]
    table[predictions < 0] = np.nan
    return Answers(countries, table)


def right_with(probability: float, seed: int) -> tuple[list[str], Answers]:
    """True countries, the same for every seed, and a model right with this probability."""
    truth = np.random.default_rng(0).integers(3, size=ROWS)
    random = np.random.default_rng(seed)
    wrong = (truth + random.integers(1, 3, size=ROWS)) % 3
    predictions = np.where(random.random(ROWS) < probability, truth, wrong)
    return [COUNTRIES[n] for n in truth], answers(predictions)


def test_a_clearly_better_challenger_is_promoted() -> None:
    labels, old = right_with(0.7, 1)
    _, new = right_with(0.9, 2)
    found = judge(labels, new, old, NO_BAR, PARAMS)
    assert found["verdict"] == "promote"
    assert found["reason"] == "better than the champion, above the baseline and the floors"
    accuracy = found["champion"]["accuracy"]
    assert 0 < accuracy["lower"] < accuracy["difference"] < accuracy["upper"]


def test_a_worse_challenger_is_rejected_in_words_that_hold_the_numbers() -> None:
    labels, old = right_with(0.9, 1)
    _, new = right_with(0.7, 2)
    found = judge(labels, new, old, NO_BAR, PARAMS)
    assert found["verdict"] == "reject"
    accuracy = found["champion"]["accuracy"]
    words = (
        f"accuracy {accuracy['challenger']:.4f} against the champion's {accuracy['champion']:.4f}"
    )
    assert words in found["reason"]
    assert "macro_f1" in found["reason"]


def test_a_gain_within_chance_is_rejected() -> None:
    labels, old = right_with(0.80, 1)
    _, new = right_with(0.81, 4)
    found = judge(labels, new, old, NO_BAR, PARAMS)
    assert found["champion"]["accuracy"]["difference"] > 0
    assert found["verdict"] == "reject"


def test_the_same_model_again_is_not_better() -> None:
    labels, old = right_with(0.8, 1)
    assert judge(labels, old, old, NO_BAR, PARAMS)["verdict"] == "reject"


def test_the_largest_difference_of_a_probability_tells_rounding_from_another_model() -> None:
    labels, old = right_with(0.9, 1)
    rounded = Answers(COUNTRIES, old.probabilities + 1e-6)
    found = judge(labels, rounded, old, NO_BAR, PARAMS)["champion"]
    assert found["probability_difference"] == pytest.approx(1e-6)
    _, other = right_with(0.9, 2)
    found = judge(labels, other, old, NO_BAR, PARAMS)["champion"]
    assert found["probability_difference"] == 1.0


def test_a_negative_margin_puts_up_with_a_small_loss() -> None:
    labels, old = right_with(0.80, 1)
    _, new = right_with(0.79, 3)
    lenient = PARAMS.model_copy(update={"accuracy_margin": -0.1, "macro_f1_margin": -0.1})
    assert judge(labels, new, old, NO_BAR, PARAMS)["verdict"] == "reject"
    assert judge(labels, new, old, NO_BAR, lenient)["verdict"] == "promote"


def test_without_a_champion_only_floors_and_baseline_count() -> None:
    labels, new = right_with(0.8, 1)
    found = judge(labels, new, None, NO_BAR, PARAMS)
    assert found["verdict"] == "promote"
    assert "no champion yet" in found["reason"]
    assert "champion" not in found


def test_a_challenger_below_the_baseline_is_rejected() -> None:
    labels, new = right_with(0.8, 1)
    found = judge(labels, new, None, {"accuracy": 0.95, "macro_f1": 0.1}, PARAMS)
    assert found["verdict"] == "reject"
    assert "is below the baseline's bar of 0.9500" in found["reason"]
    own, strict = found["challenger"], PARAMS.model_copy(update={"baseline_margin": 0.01})
    assert judge(labels, new, None, own, PARAMS)["verdict"] == "promote"
    found = judge(labels, new, None, own, strict)
    assert found["verdict"] == "reject"
    assert found["baseline"]["accuracy"]["bar"] == pytest.approx(own["accuracy"] + 0.01)


def test_a_country_that_collapses_is_rejected_though_accuracy_gains() -> None:
    truth = np.repeat([0, 1, 2], [1000, 1000, 60])
    labels = [COUNTRIES[n] for n in truth]
    random = np.random.default_rng(0)
    old = np.where(random.random(len(truth)) < 0.7, truth, (truth + 1) % 3)
    new = np.where(truth == 2, 0, truth)
    lenient = PARAMS.model_copy(update={"macro_f1_margin": -1.0})
    found = judge(labels, answers(new), answers(old), NO_BAR, lenient)
    assert found["verdict"] == "reject"
    assert "F1 of Cland 0.0000 is below its floor" in found["reason"]
    for support, verdict in ((60, "reject"), (61, "promote")):
        few = PARAMS.model_copy(update={"macro_f1_margin": -1.0, "floor_support": support})
        assert judge(labels, answers(new), answers(old), NO_BAR, few)["verdict"] == verdict


def test_the_floor_of_a_country_follows_the_champion_s_f1() -> None:
    labels, old = right_with(0.9, 1)
    floors = judge(labels, old, old, NO_BAR, PARAMS)["per_country"].values()
    assert all(found["floor"] == pytest.approx(found["f1"] - 0.15) for found in floors)


def test_a_country_that_prediction_sets_seldom_cover_is_rejected() -> None:
    labels, new = right_with(0.9, 1)
    good = {"Aland": 0.9, "Bland": 0.88, "Cland": 0.71}
    assert judge(labels, new, None, NO_BAR, PARAMS, good)["verdict"] == "promote"
    found = judge(labels, new, None, NO_BAR, PARAMS, {**good, "Bland": 0.6})
    assert found["verdict"] == "reject"
    assert "coverage of Bland 0.6000 is below 0.7000" in found["reason"]
    assert judge(labels, new, None, NO_BAR, PARAMS, {"Bland": 0.7})["verdict"] == "promote"


def test_a_country_at_its_floor_is_good_enough() -> None:
    labels, new = right_with(1.0, 1)
    highest = PARAMS.model_copy(update={"floor_f1": 1.0})
    assert judge(labels, new, None, NO_BAR, highest)["verdict"] == "promote"


def test_changed_countries_are_compared_on_the_shared_ones_and_said_so() -> None:
    labels, new = right_with(0.9, 1)
    # The champion does not know Cland, and knows a country that is gone.
    old = answers(np.zeros(ROWS, dtype=int), ("Aland", "Bland", "Gone"))
    found = judge(labels, new, old, NO_BAR, PARAMS)
    shared = sum(label != "Cland" for label in labels)
    assert found["champion"]["rows"] == shared < ROWS
    assert f"compared on the 2 shared ones, {shared} rows" in found["reason"]
    assert found["champion"]["accuracy"]["champion"] == labels.count("Aland") / shared
    assert found["per_country"]["Cland"]["floor"] == PARAMS.floor_f1  # no F1 of the champion


def test_without_a_shared_country_nothing_is_promoted() -> None:
    labels, new = right_with(0.9, 1)
    found = judge(labels, new, answers(np.zeros(ROWS, dtype=int), ("Gone",)), NO_BAR, PARAMS)
    assert found["verdict"] == "reject"
    assert "no test row is of a country that the champion knows" in found["reason"]
    assert found["champion"] == {"rows": 0}


def test_names_that_a_model_cannot_read_count_as_wrong() -> None:
    labels = ["Aland"] * 60 + ["Bland"] * 60
    truth = np.repeat([0, 1], 60)
    found = judge(labels, answers(truth), answers(np.full(120, -1)), NO_BAR, PARAMS)
    assert found["champion"]["accuracy"]["champion"] == 0.0
    assert found["verdict"] == "promote"


def test_the_verdict_is_the_same_every_time() -> None:
    labels, old = right_with(0.8, 1)
    _, new = right_with(0.82, 2)
    assert judge(labels, new, old, NO_BAR, PARAMS) == judge(labels, new, old, NO_BAR, PARAMS)


places = st.integers(min_value=0, max_value=3)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(places, st.integers(-1, 3), st.integers(-1, 3)), min_size=1, max_size=60
    )
)
def test_scores_equal_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    truth, old, new = np.array(rows).T
    names = tuple("wxyz")
    labels = [names[n] for n in truth]
    found = judge(labels, answers(new, names), answers(old, names), NO_BAR, PARAMS)
    for model, predictions in (("champion", old), ("challenger", new)):
        assert found["champion"]["accuracy"][model] == pytest.approx(
            accuracy_score(truth, predictions)
        )
        present = sorted(set(truth) | set(predictions[predictions >= 0]))
        expected = f1_score(truth, predictions, labels=present, average="macro", zero_division=0.0)
        assert found["champion"]["macro_f1"][model] == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_spread_of_the_draws_is_that_of_resampled_rows(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(3, size=200)
    old, new = (np.where(random.random(200) < p, truth, 0) for p in (0.4, 0.5))
    drawn = paired_bootstrap(truth, old, new, 3, 4000, seed)
    rows = random.integers(200, size=(4000, 200))
    plain = ((new == truth)[rows].mean(1)) - ((old == truth)[rows].mean(1))
    assert drawn[:, 0].mean() == pytest.approx(plain.mean(), abs=0.01)
    assert drawn[:, 0].std() == pytest.approx(plain.std(), rel=0.1)


def test_draws_do_not_depend_on_how_they_are_portioned(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    truth, old, new = random.integers(3, size=(3, 100))
    whole = paired_bootstrap(truth, old, new, 3, 200, 1)
    assert whole.shape == (200, 2)
    monkeypatch.setattr("stages.retrain.gate.CELLS", 100)
    np.testing.assert_array_equal(paired_bootstrap(truth, old, new, 3, 200, 1), whole)
