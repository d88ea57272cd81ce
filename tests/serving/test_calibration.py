import numpy as np
import pytest

from stages.serving.calibration import fit_temperature


def test_the_temperature_is_that_of_the_least_loss() -> None:
    # One name of four is wrong: p = 3/4 for odds of exp(3 / T), so T = 3 / log(3).
    logits = np.array([[3.0, 0.0]] * 4)
    found = fit_temperature(logits, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(3 / np.log(3), rel=1e-3)


@pytest.mark.parametrize(("label", "limit"), [(0, 0.05), (1, 20.0)])
def test_the_temperature_stays_in_its_range(label: int, limit: float) -> None:
    found = fit_temperature(np.array([[0.1, 0.0]] * 4), np.full(4, label))
    assert found == pytest.approx(limit, rel=1e-3)
