"""Prediction sets cover, and a bundle keeps what was measured on its held-out rows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit, softmax

from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.serving import measure as module
from stages.serving.calibration import fit_temperature
from stages.serving.held_out import prediction_sets
from stages.serving.measure import calibrated, measure, set_thresholds
from tests.serving.made import PRIOR, config, population

COVERAGE = 0.9  # the promise


def test_each_country_is_covered_also_the_small_one() -> None:
    thresholds = set_thresholds(*population(PRIOR, 4000, 1))
    probabilities, labels = population(PRIOR, 20_000, 2)
    covered = prediction_sets(probabilities, thresholds)[np.arange(len(labels)), labels]
    for country in range(len(PRIOR)):
        share = covered[labels == country].mean()
        assert COVERAGE - 0.02 < share < COVERAGE + 0.06


def test_a_threshold_lies_between_the_country_s_quantile_and_that_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = np.random.default_rng(1).random((300, 1))
    labels = np.repeat([0, 1], [120, 180])

    def threshold(prior_rows: float) -> float:
        monkeypatch.setattr(module, "PRIOR_ROWS", prior_rows)
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
    assert covered.mean() > COVERAGE - 0.02


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=9))
def test_no_set_is_empty_and_none_lacks_the_most_probable_country(rows: list[list[float]]) -> None:
    table = np.array(rows)
    sets = prediction_sets(table, np.array([0.9, 1.0, 0.5]))
    assert sets[np.arange(len(table)), table.argmax(axis=1)].all()


def test_a_model_is_measured_on_its_training_names_and_held_out_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    vocabulary = Vocabulary("keep", ("CYRILLIC", "LATIN"), tuple("abcdeИо"))

    def names(texts: list[str], labels: list[int]) -> Names:
        codes, offsets = vocabulary.encode(texts)
        return Names(codes, offsets, np.array(labels), np.zeros(len(texts), dtype=bool))

    train = names(["abab", "bcbc", "cdcd", "dede", "eaea"], [0, 0, 1, 0, 0])
    rows = names(["abab", "bcbc", "cdcd", "dede", "eaea", "bdbd", "Ио"], [0, 0, 1, 0, 1, 1, 1])
    kinds = np.zeros(7, dtype=int)
    logits = np.arange(14.0).reshape(7, 2) ** 1.2
    surnames = config(vocabulary=vocabulary, countries=("A", "B"), temperatures=[2.0])
    found = measure(surnames, train, rows, logits, kinds, logit_adjustment=0.5)
    assert found.prior[0] == pytest.approx([2 / 3, 1 / 3])  # the counts 4 and 1 to the power of 0.5
    assert found.measures[:, 0].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert found.measures[:, 1] == pytest.approx(np.log(np.exp(logits).sum(axis=1)))
    assert found.probabilities == pytest.approx(softmax(logits / 2, axis=1))
    assert found.thresholds[0] == pytest.approx(set_thresholds(found.probabilities, rows.labels))
    assert found.scripts.tolist() == [1, 1, 1, 1, 1, 1, 0]
    assert found.labels.tolist() == rows.labels.tolist()
    whole = measure(surnames, train, rows, logits, kinds, logit_adjustment=0.0)
    assert whole.prior[0] == pytest.approx([0.8, 0.2])


def names_of(texts: list[str], labels: np.ndarray) -> tuple[Vocabulary, Names]:
    vocabulary = Vocabulary("keep", ("LATIN", "SPACE"), tuple(" AKabdehinrvz"))
    codes, offsets = vocabulary.encode(texts)
    return vocabulary, Names(codes, offsets, labels, np.ones(len(texts), dtype=bool))


@pytest.mark.parametrize("full", [300, 20])
def test_surnames_and_full_names_are_calibrated_apart_if_there_are_enough_of_each(
    full: int,
) -> None:
    probabilities, labels = population(PRIOR, 300 + full, 1)
    is_full = np.arange(len(labels)) >= 300
    logits = np.log(probabilities) * np.where(is_full, 4.0, 0.5)[:, None]
    vocabulary, rows = names_of([*["Kahn"] * 300, *["Ida Kahn"] * full], labels)
    plain = config(
        vocabulary=vocabulary, countries=("A", "B", "C", "D"), names="both", temperatures=[1.0, 1.0]
    )
    found = calibrated(plain, rows, rows, logits, 0.0)
    whole = fit_temperature(logits, labels)
    own = [
        fit_temperature(logits[~is_full], labels[~is_full]),
        fit_temperature(logits[is_full], labels[is_full]) if full == 300 else whole,
    ]
    assert found.temperatures == own
    assert found.held_out.kinds.tolist() == is_full.tolist()
    assert found.held_out.thresholds.shape == (2, 4)
    counts = np.stack([np.bincount(labels[is_full == kind]) for kind in (False, True)])
    counts = counts + 0.02 * counts.sum(axis=0)  # no country is impossible in a kind
    assert found.held_out.prior == pytest.approx(counts / counts.sum(axis=1, keepdims=True))
    one = calibrated(replace(plain, names="surnames", temperatures=[1.0]), rows, rows, logits, 0.0)
    assert one.temperatures == [whole] and not one.held_out.kinds.any()
