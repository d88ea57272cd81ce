"""Temperatures fit, sets cover, and a bundle keeps what was measured on its held-out rows."""

import numpy as np
import pytest
from scipy.special import softmax

from stages.corpus import dataset
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.serving.held_out import prediction_sets
from stages.serving.measure import calibrated, fit_temperature, set_thresholds
from tests.serving.made import PRIOR, config, population

COVERAGE, LEVEL = 0.9, 0.92  # the promise, and what thresholds aim at


@pytest.mark.parametrize(
    ("odds", "labels", "wanted"),
    [
        # One name of four is wrong: p = 3/4 for odds of exp(3 / T), so T = 3 / log(3).
        (3.0, [0, 0, 0, 1], 3 / np.log(3)),
        (0.1, [0] * 4, 0.05),  # the lowest
        (0.1, [1] * 4, 20.0),  # the highest
    ],
)
def test_the_temperature_is_that_of_the_least_loss_in_its_range(
    odds: float, labels: list[int], wanted: float
) -> None:
    found = fit_temperature(np.array([[odds, 0.0]] * 4), np.array(labels))
    assert found == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(("last_rows", "power"), [(200, 1), (3, 1), (0, 1), (200, 1.3)])
def test_each_country_is_covered_also_one_of_few_rows_or_none(last_rows: int, power: float) -> None:
    """The last country has few of the rows; by a power the model is more sure than it is right."""

    def answers(names: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        probabilities, labels = population(PRIOR, names, seed)
        table = probabilities**power
        return table / table.sum(axis=1, keepdims=True), labels

    probabilities, labels = answers(4000, 1)
    known = np.where((labels == 3) & ((labels == 3).cumsum() > last_rows), 4, labels)
    thresholds = set_thresholds(probabilities, known, LEVEL)
    probabilities, labels = answers(20_000, 2)
    covered = prediction_sets(probabilities, thresholds)[np.arange(len(labels)), labels]
    for country in range(len(PRIOR)):
        share = covered[labels == country].mean()
        assert COVERAGE - 0.02 < share < COVERAGE + 0.06
    assert 0.99 < set_thresholds(np.ones((9, 1)), np.zeros(9), LEVEL)[0] < 1  # a model that is sure


@pytest.mark.parametrize("full", [300, 20])
def test_surnames_and_full_names_are_measured_apart_if_there_are_enough_of_each(
    monkeypatch: pytest.MonkeyPatch, full: int
) -> None:
    monkeypatch.setattr(dataset, "CHUNK", 50)
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
    levels, prior = [0.92, 0.8], np.array([[0.1, 0.2, 0.3, 0.4], [0.25] * 4])
    found = calibrated(plain, train, rows, logits, prior, levels)
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
    assert (kept.prior == prior).all()
