import numpy as np
import pytest
from scipy.special import softmax

from stages.serving.calibration import fit_temperature


def test_the_temperature_with_which_labels_were_drawn_is_found() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(scale=4, size=(4000, 3))
    for temperature in (0.5, 2.0):
        odds = softmax(logits / temperature, axis=1).cumsum(axis=1)
        labels = (random.random((4000, 1)) > odds).sum(axis=1).clip(max=2)
        assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.08)


def test_the_temperature_is_that_of_the_least_loss() -> None:
    # One name of four is wrong: p = 3/4 for odds of exp(3 / T), so T = 3 / log(3).
    logits = np.array([[3.0, 0.0]] * 4)
    found = fit_temperature(logits, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(3 / np.log(3), rel=1e-3)


def test_the_temperature_stays_in_its_range() -> None:
    logits = np.array([[0.1, 0.0]] * 4)
    for label, limit in zip((0, 1), (0.05, 20.0), strict=True):
        found = fit_temperature(logits, np.full(4, label))
        assert found == pytest.approx(limit, rel=1e-3)
