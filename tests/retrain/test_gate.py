from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from stages.core.params import GateParams
from stages.retrain import gate
from stages.retrain.gate import paired_bootstrap

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
BASELINE = {"accuracy": 0.0, "macro_f1": 0.0}
ROWS = 1200


def answers(predictions: NDArray[np.int64], countries: tuple[str, ...] = COUNTRIES) -> pd.DataFrame:
    """A model that is sure of each prediction; -1 is an unusable name."""
    table = np.eye(len(countries))[predictions]
    table[predictions < 0] = np.nan
    return pd.DataFrame(table, columns=list(countries))


def right_with(probability: float, seed: int) -> pd.DataFrame:
    """A model that is right about LABELS with this probability."""
    random = np.random.default_rng(seed)
    wrong = (TRUTH + random.integers(1, 3, size=ROWS)) % 3
    return answers(np.where(random.random(ROWS) < probability, TRUTH, wrong))


TRUTH = np.random.default_rng(0).integers(3, size=ROWS)
LABELS = [COUNTRIES[n] for n in TRUTH]


def judge(
    new: pd.DataFrame,
    old: pd.DataFrame | None = None,
    labels: list[str] = LABELS,
    baseline: dict[str, float] = BASELINE,
    coverage: dict[str, float] | None = None,
    **params: float,
) -> dict[str, Any]:
    changed = PARAMS.model_copy(update=params)
    return gate.judge(labels, new, old, baseline, coverage or {}, changed)


def test_a_clearly_better_challenger_is_promoted() -> None:
    old, new = right_with(0.7, 1), right_with(0.9, 2)
    verdict = judge(new, old)
    assert verdict == judge(new, old)  # the same draws every time
    assert verdict["verdict"] == "promote"
    assert verdict["reason"] == "better than the champion, above the baseline and the floors"
    accuracy = verdict["champion"]["accuracy"]
    assert 0 < accuracy["lower"] < accuracy["difference"] < accuracy["upper"]


def test_a_worse_challenger_is_rejected_in_words_that_hold_the_numbers() -> None:
    verdict = judge(right_with(0.7, 2), right_with(0.9, 1))
    assert verdict["verdict"] == "reject"
    accuracy = verdict["champion"]["accuracy"]
    words = (
        f"accuracy {accuracy['challenger']:.4f} against the champion's {accuracy['champion']:.4f}"
    )
    assert words in verdict["reason"]
    assert "macro_f1" in verdict["reason"]


def test_a_gain_within_chance_is_rejected_and_so_is_the_same_model() -> None:
    old = right_with(0.80, 1)
    verdict = judge(right_with(0.81, 4), old)
    assert verdict["champion"]["accuracy"]["difference"] > 0
    assert verdict["verdict"] == "reject"
    assert judge(old, old)["verdict"] == "reject"


def test_a_negative_margin_puts_up_with_a_small_loss() -> None:
    old, new = right_with(0.80, 1), right_with(0.79, 3)
    assert judge(new, old)["verdict"] == "reject"
    lenient = judge(new, old, accuracy_margin=-0.1, macro_f1_margin=-0.1)
    assert lenient["verdict"] == "promote"


def test_the_largest_difference_of_a_probability_tells_rounding_from_another_model() -> None:
    old = right_with(0.9, 1)
    rounded = old + 1e-6
    difference = judge(rounded, old)["champion"]["probability_difference"]
    assert difference == pytest.approx(1e-6)
    assert judge(right_with(0.9, 2), old)["champion"]["probability_difference"] == 1.0


def test_without_a_champion_only_floors_and_baseline_count() -> None:
    verdict = judge(right_with(0.8, 1))
    assert verdict["verdict"] == "promote"
    assert "no champion yet" in verdict["reason"]
    assert "champion" not in verdict


def test_a_challenger_below_the_baseline_is_rejected() -> None:
    new = right_with(0.8, 1)
    verdict = judge(new, baseline={"accuracy": 0.95, "macro_f1": 0.1})
    assert verdict["verdict"] == "reject"
    assert "is below the baseline's bar of 0.9500" in verdict["reason"]
    own = verdict["challenger"]
    assert judge(new, baseline=own)["verdict"] == "promote"
    verdict = judge(new, baseline=own, baseline_margin=0.01)
    assert verdict["verdict"] == "reject"
    assert verdict["baseline"]["accuracy"]["bar"] == pytest.approx(own["accuracy"] + 0.01)


def test_a_country_that_collapses_is_rejected_though_accuracy_gains() -> None:
    truth = np.repeat([0, 1, 2], [1000, 1000, 60])
    labels = [COUNTRIES[n] for n in truth]
    random = np.random.default_rng(0)
    old = answers(np.where(random.random(len(truth)) < 0.7, truth, (truth + 1) % 3))
    new = answers(np.where(truth == 2, 0, truth))
    for support, outcome in ((50, "reject"), (60, "reject"), (61, "promote")):
        verdict = judge(new, old, labels, macro_f1_margin=-1.0, floor_support=support)
        assert verdict["verdict"] == outcome
        assert ("F1 of Cland 0.0000 is below its floor" in verdict["reason"]) == (support < 61)


def test_the_floor_of_a_country_is_given_or_follows_the_champion_s_f1() -> None:
    old = right_with(0.9, 1)
    for row in judge(old, old)["per_country"].values():
        assert row["floor"] == pytest.approx(row["f1"] - 0.15)
    assert judge(right_with(1.0, 1), floor_f1=1.0)["verdict"] == "promote"


def test_a_country_that_prediction_sets_seldom_cover_is_rejected() -> None:
    new, good = right_with(0.9, 1), {"Aland": 0.9, "Bland": 0.7, "Cland": 0.71}
    assert judge(new, coverage=good)["verdict"] == "promote"
    assert judge(new, coverage={"Bland": 0.7})["verdict"] == "promote"
    verdict = judge(new, coverage={**good, "Bland": 0.6})
    assert verdict["verdict"] == "reject"
    assert "coverage of Bland 0.6000 is below 0.7000" in verdict["reason"]


def test_changed_countries_are_compared_on_the_shared_ones_and_said_so() -> None:
    # The champion does not know Cland, and knows a country that is gone.
    old = answers(np.zeros(ROWS, dtype=int), ("Aland", "Bland", "Gone"))
    verdict = judge(right_with(0.9, 1), old)
    shared = sum(label != "Cland" for label in LABELS)
    assert verdict["champion"]["rows"] == shared < ROWS
    assert f"compared on the 2 shared ones, {shared} rows" in verdict["reason"]
    assert verdict["champion"]["accuracy"]["champion"] == LABELS.count("Aland") / shared
    assert verdict["per_country"]["Cland"]["floor"] == PARAMS.floor_f1  # no F1 of the champion

    verdict = judge(right_with(0.9, 1), answers(np.zeros(ROWS, dtype=int), ("Gone",)))
    assert verdict["verdict"] == "reject"
    assert "no test row is of a country that the champion knows" in verdict["reason"]
    assert verdict["champion"] == {"rows": 0}


def test_names_that_a_model_cannot_read_count_as_wrong() -> None:
    verdict = judge(answers(TRUTH), answers(np.full(ROWS, -1)))
    assert verdict["champion"]["accuracy"]["champion"] == 0.0
    assert verdict["verdict"] == "promote"


countries = st.integers(min_value=0, max_value=3)


@settings(max_examples=25)
@given(
    rows=st.lists(
        st.tuples(countries, st.integers(-1, 3), st.integers(-1, 3)), min_size=1, max_size=60
    )
)
def test_scores_equal_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    truth, old, new = np.array(rows).T
    names = tuple("wxyz")
    verdict = judge(answers(new, names), answers(old, names), [names[n] for n in truth])
    for model, predictions in (("champion", old), ("challenger", new)):
        accuracy = verdict["champion"]["accuracy"][model]
        assert accuracy == pytest.approx(accuracy_score(truth, predictions))
        present = sorted(set(truth) | set(predictions[predictions >= 0]))
        expected = f1_score(truth, predictions, labels=present, average="macro", zero_division=0.0)
        assert verdict["champion"]["macro_f1"][model] == pytest.approx(expected)


@settings(max_examples=5)
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
