"""Prediction sets cover, unfamiliar names are found, shares of a population come out right."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import logit, softmax

from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.model import statistics
from stages.serving.held_out import prediction_sets, reweight
from stages.serving.statistics import (
    entropy,
    estimate_shares,
    measure,
    population_shares,
    set_thresholds,
)
from tests.conftest import ROOT

COUNTRIES = 4
PRIOR = np.array([0.5, 0.3, 0.15, 0.05])
# Names are points around their country's mean: Bayes' rule then gives exact probabilities.
MEANS = 2.0 * np.eye(COUNTRIES)


def population(shares: NDArray[np.float64], names: int, seed: int):
    """Probabilities that hold under `PRIOR`, and the true countries, of names with these shares."""
    random = np.random.default_rng(seed)
    labels = random.choice(COUNTRIES, names, p=shares)
    points = MEANS[labels] + random.normal(size=(names, COUNTRIES))
    distances = ((points[:, None] - MEANS) ** 2).sum(axis=2)
    return softmax(np.log(PRIOR) - distances / 2, axis=1), labels


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.abs(one - other).sum() / 2)


def test_each_country_is_covered_also_the_small_one() -> None:
    thresholds = set_thresholds(*population(PRIOR, 4000, 1))
    probabilities, labels = population(PRIOR, 20_000, 2)
    covered = prediction_sets(probabilities, thresholds)[np.arange(len(labels)), labels]
    for country in range(COUNTRIES):
        share = covered[labels == country].mean()
        assert statistics.COVERAGE - 0.02 < share < statistics.COVERAGE + 0.06


def test_a_threshold_lies_between_the_country_s_quantile_and_that_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = np.random.default_rng(1).random((300, 1))
    labels = np.repeat([0, 1], [120, 180])

    def threshold(prior_rows: float) -> float:
        monkeypatch.setattr(statistics, "PRIOR_ROWS", prior_rows)
        return float(set_thresholds(table, labels)[0])

    # Split conformal prediction: the floor(0.08 * (120 + 1))-th of the country's 120 rows.
    own = threshold(0)
    assert own == pytest.approx(np.sort(table[:120, 0])[9 - 1])
    # By the model, the rows below hold less than 8 % of the country's names, with it 8 %.
    all_rows = threshold(1e12)
    below, reached = table < all_rows * (1 - 1e-6), table < all_rows * (1 + 1e-6)
    assert table[below].sum() < 0.08 * table.sum() <= table[reached].sum()
    both = threshold(120)  # the country's rows weigh as much as the others
    assert logit(both) == pytest.approx((logit(own) + logit(all_rows)) / 2)
    assert set_thresholds(table, np.repeat([0, 1], [1, 299]))[0] > 0
    assert 0.99 < set_thresholds(np.ones((9, 1)), np.zeros(9))[0] < 1  # a model that is sure


def test_a_country_with_few_held_out_rows_is_covered_if_the_model_is_calibrated() -> None:
    probabilities, labels = population(PRIOR, 3000, 1)
    few = np.where(labels == 3, 4, labels)  # as if no row were labelled with the last country
    thresholds = set_thresholds(probabilities, few)
    probabilities, labels = population(PRIOR, 20_000, 2)
    covered = prediction_sets(probabilities, thresholds)[labels == 3, 3]
    assert covered.mean() > statistics.COVERAGE - 0.02


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=9))
def test_no_set_is_empty_and_none_lacks_the_most_probable_country(rows: list[list[float]]) -> None:
    table = np.array(rows)
    sets = prediction_sets(table, np.array([0.9, 1.0, 0.5]))
    assert sets[np.arange(len(table)), table.argmax(axis=1)].all()


def test_em_finds_shares_that_the_mean_of_probabilities_misses() -> None:
    truth = np.array([0.1, 0.1, 0.2, 0.6])
    probabilities, _ = population(truth, 5000, 1)
    assert distance(probabilities.mean(axis=0), truth) > 0.15
    assert distance(estimate_shares(probabilities, PRIOR), truth) < 0.03


def test_weights_count_as_repeated_names() -> None:
    probabilities, _ = population(PRIOR, 50, 1)
    counts = np.arange(50) % 3
    repeated = estimate_shares(np.repeat(probabilities, counts, axis=0), PRIOR)
    assert estimate_shares(probabilities, PRIOR, counts) == pytest.approx(repeated, abs=1e-9)


@given(
    st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=9),
    st.lists(st.floats(0.05, 1), min_size=3, max_size=3),
)
def test_shares_sum_to_one_and_reweighted_rows_too(
    rows: list[list[float]], raw: list[float]
) -> None:
    table = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    prior = np.array(raw) / np.sum(raw)
    shares = estimate_shares(table, prior)
    assert shares.sum() == pytest.approx(1) and (shares >= 0).all()
    assert reweight(table, prior, shares).sum(axis=1) == pytest.approx(1)
    assert reweight(table, prior, prior) == pytest.approx(table)


def test_reweighted_answers_are_right_more_often() -> None:
    truth = np.array([0.05, 0.05, 0.2, 0.7])
    probabilities, labels = population(truth, 5000, 1)
    better = reweight(probabilities, PRIOR, estimate_shares(probabilities, PRIOR))
    before, after = ((p.argmax(axis=1) == labels).mean() for p in (probabilities, better))
    assert after > before + 0.05


@pytest.mark.parametrize("truth", [PRIOR, np.array([0.1, 0.1, 0.2, 0.6])])
def test_intervals_cover_the_truth(truth: NDArray[np.float64]) -> None:
    covered = []
    for seed in range(20):
        held_out, labels = population(PRIOR, 300, 1000 + seed)
        probabilities, _ = population(truth, 400, seed)
        found = population_shares(
            probabilities, probabilities.mean(axis=0), PRIOR, held_out, labels, 30, seed
        )
        covered.append((found.lower <= truth) & (truth <= found.upper))
    assert np.mean(covered) >= 0.85


@pytest.mark.parametrize("truth", [PRIOR, np.array([0.1, 0.1, 0.2, 0.6])])
def test_with_many_held_out_rows_intervals_are_as_wide_as_chance(
    truth: NDArray[np.float64],
) -> None:
    held_out, labels = population(PRIOR, 3000, 1000)
    samples = [population(truth, 400, seed)[0] for seed in range(40)]
    mean = samples[0].mean(axis=0)
    found = population_shares(samples[0], mean, PRIOR, held_out, labels, 40)
    estimates = [
        estimate_shares(table, PRIOR) if found.shifted else table.mean(axis=0) for table in samples
    ]
    ratios = (found.upper - found.lower) / 2 / np.std(estimates, axis=0)
    assert ratios.mean() == pytest.approx(1.96, rel=0.25)


def test_without_a_shift_the_shares_are_the_mean_of_the_probabilities() -> None:
    held_out, labels = population(PRIOR, 300, 1)
    probabilities, _ = population(PRIOR, 400, 2)
    mean = probabilities.mean(axis=0)
    found = population_shares(probabilities, mean, PRIOR, held_out, labels)
    assert not found.shifted
    assert found.shares == pytest.approx(mean)


def test_same_input_gives_the_same_intervals() -> None:
    held_out, labels = population(PRIOR, 100, 1)
    probabilities, _ = population(PRIOR[::-1], 100, 2)
    arguments = (probabilities, probabilities.mean(axis=0), PRIOR, held_out, labels, 20)
    one, other = population_shares(*arguments), population_shares(*arguments)
    np.testing.assert_array_equal(one.lower, other.lower)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_country_without_held_out_rows_has_no_narrow_interval(rows: int) -> None:
    held_out, labels = population(PRIOR, 300, 1)
    kept = (labels != 3) | ((labels == 3).cumsum() <= rows)
    probabilities, _ = population(PRIOR[::-1], 400, 2)
    mean = probabilities.mean(axis=0)
    found = population_shares(probabilities, mean, PRIOR, held_out[kept], labels[kept], 20)
    assert ((found.lower[3], found.upper[3]) == (0, 1)) == (rows == 0)


def test_countries_alike_have_intervals_alike_though_a_third_has_no_held_out_rows() -> None:
    names, held_out = np.eye(3)[[0, 1, 2, 2] * 100], np.eye(3)[[0, 1] * 100]
    even = np.full(3, 1 / 3)
    found = population_shares(names, names.mean(axis=0), even, held_out, np.arange(200) % 2)
    assert found.shares == pytest.approx([0.25, 0.25, 0.5])
    assert found.upper[0] == pytest.approx(found.upper[1], abs=0.05)


def test_entropy_is_none_of_a_sure_answer_and_greatest_of_an_even_one() -> None:
    assert entropy(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx([0, np.log(2)])


def test_a_model_is_measured_on_its_training_names_and_held_out_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "CHUNK", 2)
    vocabulary = Vocabulary("keep", ("CYRILLIC", "LATIN"), tuple("abcdeИо"))

    def names(texts: list[str], labels: list[int]) -> Names:
        codes, offsets = vocabulary.encode(texts)
        return Names(codes, offsets, np.array(labels), np.zeros(len(texts), dtype=bool))

    train = names(["abab", "bcbc", "cdcd", "dede", "eaea"], [0, 0, 1, 0, 0])
    rows = names(["abab", "bcbc", "cdcd", "dede", "eaea", "bdbd", "Ио"], [0, 0, 1, 0, 1, 1, 1])
    logits = np.arange(14.0).reshape(7, 2) ** 1.2
    found = measure(vocabulary, train, rows, logits, temperature=2.0, logit_adjustment=0.5)
    assert found.prior == pytest.approx([2 / 3, 1 / 3])  # the counts 4 and 1 to the power of 0.5
    assert found.measures[:, 0].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert found.measures[:, 1] == pytest.approx(np.log(np.exp(logits).sum(axis=1)))
    assert found.probabilities == pytest.approx(softmax(logits / 2, axis=1))
    assert found.thresholds == pytest.approx(set_thresholds(found.probabilities, rows.labels))
    assert found.scripts.tolist() == [1, 1, 1, 1, 1, 1, 0]
    assert found.labels.tolist() == rows.labels.tolist()
    whole = measure(vocabulary, train, rows, logits, temperature=2.0, logit_adjustment=0.0)
    assert whole.prior == pytest.approx([0.8, 0.2])


def test_importing_needs_no_torch() -> None:
    code = "import sys, stages.serving.statistics; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
