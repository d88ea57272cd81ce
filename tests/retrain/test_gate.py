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


GOOD = right_with(0.8, 1)
LAX = {"accuracy_margin": -0.1, "macro_f1_margin": -0.1}
BAR = {"accuracy": 0.1, "macro_f1": 0.1}
OWN = judge(GOOD)["challenger"]
COVERED = {"Aland": 0.9, "Bland": 0.7}  # nothing is said of Cland


@pytest.mark.parametrize(
    ("new", "old", "options", "verdict", "words"),
    [
        (right_with(0.9, 2), GOOD, {}, "promote", "better than the champion, above the baseline"),
        (GOOD, right_with(0.9, 2), {}, "reject", "against the champion's"),
        (right_with(0.81, 4), GOOD, {}, "reject", "not above the margin"),  # within chance
        (GOOD, GOOD, {}, "reject", "not above the margin"),
        (right_with(0.79, 3), GOOD, {"accuracy_margin": -0.1}, "reject", "macro_f1 0."),
        (right_with(0.79, 3), GOOD, LAX, "promote", "better"),
        (GOOD, None, {}, "promote", "above the baseline and the floors; there is no champion yet"),
        (GOOD, None, {"baseline": BAR | {"accuracy": 0.95}}, "reject", "bar of 0.9500"),
        (GOOD, None, {"baseline": BAR | {"macro_f1": 0.95}}, "reject", "bar of 0.9500"),
        (GOOD, None, {"baseline": OWN}, "promote", "above"),
        (GOOD, None, {"baseline": OWN, "baseline_margin": 0.01}, "reject", "the baseline's bar"),
        (GOOD, None, {"coverage": COVERED}, "promote", "above"),
        (GOOD, None, {"coverage": COVERED | {"Bland": 0.6}}, "reject", "of Bland 0.6000 is below"),
        (right_with(1.0, 1), None, {"floor_f1": 1.0}, "promote", "above"),
        (GOOD, None, {"floor_f1": 0.9}, "reject", "is below its floor of 0.9000"),
        (answers(TRUTH), answers(np.full(ROWS, -1)), {}, "promote", "better"),  # unusable: wrong
    ],
)
def test_only_a_better_challenger_above_the_baseline_and_the_floors_is_promoted(
    new: pd.DataFrame, old: pd.DataFrame | None, options: dict, verdict: str, words: str
) -> None:
    judged = judge(new, old, **options)
    assert judged["verdict"] == verdict
    assert words in judged["reason"]
    assert ("champion" in judged) == (old is not None)
    assert judged == judge(new, old, **options)  # the same draws every time


def test_the_numbers_are_those_of_the_reason() -> None:
    old = right_with(0.9, 1)
    judged = judge(GOOD, old)
    accuracy = judged["champion"]["accuracy"]
    assert accuracy["lower"] < accuracy["difference"] < accuracy["upper"] < 0
    numbers = f"{accuracy['challenger']:.4f} against the champion's {accuracy['champion']:.4f}"
    assert f"accuracy {numbers}" in judged["reason"] and "macro_f1" in judged["reason"]
    assert judged["champion"]["probability_difference"] == 1.0
    rounded = judge(old + 1e-6, old)
    assert rounded["champion"]["probability_difference"] == pytest.approx(1e-6)
    for row in rounded["per_country"].values():
        assert row["floor"] == pytest.approx(row["f1"] - PARAMS.floor_drop)


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
    labels = [names[n] for n in truth]
    verdict = judge(answers(new, names), answers(old, names), labels, resamples=100)
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
