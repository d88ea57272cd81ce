"""Temperatures fit, sets cover, and a bundle keeps what was measured on its held-out rows."""

import numpy as np
import pytest
from scipy.special import logit, softmax

from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.serving import measure as module
from stages.serving.held_out import prediction_sets
from stages.serving.measure import calibrated, fit_temperature, set_thresholds
from tests.serving.made import PRIOR, config, population

COVERAGE, LEVEL = 0.9, 0.92  # the promise, and what thresholds aim at


def test_the_temperature_is_that_of_the_least_loss() -> None:
    # One name of four is wrong: p = 3/4 for odds of exp(3 / T), so T = 3 / log(3).
    logits = np.array([[3.0, 0.0]] * 4)
    found = fit_temperature(logits, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(3 / np.log(3), rel=1e-3)


@pytest.mark.parametrize(("label", "limit"), [(0, 0.05), (1, 20.0)])
def test_the_temperature_stays_in_its_range(label: int, limit: float) -> None:
    found = fit_temperature(np.array([[0.1, 0.0]] * 4), np.full(4, label))
    assert found == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize("labelled", [4, 3])  # countries that have held-out rows
def test_each_country_is_covered_also_one_of_few_rows_or_none(labelled: int) -> None:
    probabilities, labels = population(PRIOR, 4000, 1)
    thresholds = set_thresholds(probabilities, np.where(labels < labelled, labels, 4), LEVEL)
    probabilities, labels = population(PRIOR, 20_000, 2)
    covered = prediction_sets(probabilities, thresholds)[np.arange(len(labels)), labels]
    for country in range(len(PRIOR)):
        share = covered[labels == country].mean()
        assert COVERAGE - 0.02 < share < COVERAGE + 0.06


def test_a_threshold_lies_between_the_country_s_quantile_and_that_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = np.random.default_rng(1).random((300, 1))

    def threshold(prior_rows: float) -> float:
        monkeypatch.setattr(module, "PRIOR_ROWS", prior_rows)
        return float(set_thresholds(table, np.repeat([0, 1], [120, 180]), LEVEL)[0])

    # Split conformal prediction: the floor(0.08 * (120 + 1))-th of the country's 120 rows.
    own, by_model = threshold(0), threshold(1e12)
    assert own == pytest.approx(np.sort(table[:120, 0])[9 - 1])
    # By the model, the rows below hold less than 8 % of the country's names, with it 8 %.
    below, reached = table < by_model * (1 - 1e-6), table < by_model * (1 + 1e-6)
    assert table[below].sum() < 0.08 * table.sum() <= table[reached].sum()
    both = threshold(120)  # the country's rows weigh as much as the others
    assert logit(both) == pytest.approx((logit(own) + logit(by_model)) / 2)
    assert 0.99 < set_thresholds(np.ones((9, 1)), np.zeros(9), LEVEL)[0] < 1  # a model that is sure


@pytest.mark.parametrize("full", [300, 20])
def test_surnames_and_full_names_are_measured_apart_if_there_are_enough_of_each(
    monkeypatch: pytest.MonkeyPatch, full: int
) -> None:
    monkeypatch.setattr(module, "CHUNK", 50)
    answers, labels = population(PRIOR, 300 + full, 1)
    kinds = np.repeat([0, 1, 0], [300, full - 1, 1])
    logits = np.log(answers) * np.array([0.5, 4.0])[kinds, None]
    texts = [*["Kahn"] * 300, *["Ida Kahn"] * (full - 1), "Ида"]
    vocabulary = Vocabulary("keep", ("CYRILLIC", "LATIN", "SPACE"), tuple(" AKabdehinrvzИад"))
    codes, offsets = vocabulary.encode(texts)
    rows = Names(codes, offsets, labels, np.ones(len(texts), dtype=bool))
    train = Names(codes[: offsets[-2]], offsets[:-1], labels[:-1], rows.seen[:-1])

    plain = config(
        vocabulary=vocabulary, countries=("A", "B", "C", "D"), names="both", temperatures=[1.0, 1.0]
    )
    levels = [0.92, 0.8]
    found = calibrated(plain, train, rows, logits, 0.5, levels)
    kept = found.held_out
    parts = [kinds == 0, kinds == 1 if full == 300 else kinds >= 0]
    assert found.temperatures == [fit_temperature(logits[part], labels[part]) for part in parts]
    scaled = logits / np.array(found.temperatures)[kinds, None]
    assert kept.probabilities == pytest.approx(softmax(scaled, axis=1))
    for part, thresholds, level in zip(parts, kept.thresholds, levels, strict=True):
        expected = set_thresholds(kept.probabilities[part], labels[part], level)
        assert thresholds == pytest.approx(expected)
    assert (kept.kinds.tolist(), kept.labels.tolist()) == (kinds.tolist(), labels.tolist())
    is_last = np.arange(len(texts)) == len(texts) - 1  # the one in another script, which is unknown
    assert kept.scripts.tolist() == (~is_last).astype(int).tolist()
    energies = np.log(np.exp(logits).sum(axis=1))
    assert kept.measures == pytest.approx(np.stack([~is_last, energies], axis=1))
    counts = np.stack([np.bincount(labels[:-1][kinds[:-1] == kind]) for kind in (0, 1)])
    total = counts.sum(axis=0)  # of which a few make no country impossible in a kind
    prior = (counts + 0.02 * total) / np.sqrt(total)  # less the adjustment of 0.5
    assert kept.prior == pytest.approx(prior / prior.sum(axis=1, keepdims=True))
