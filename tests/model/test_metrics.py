import numpy as np
import pytest

from stages.model.metrics import (
    accuracy_interval,
    calibration,
    coverage,
    details,
    expected_calibration_error,
    means_by_country,
    per_country,
    scores,
)


def test_all_metrics_of_a_case_done_by_hand() -> None:
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
    labels = np.array([0, 1, 1, 0])
    found = scores(probabilities, labels, np.array([True, False, False, True]), bins=10)
    assert found["accuracy"] == 0.75
    assert found["unseen_accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found["nll"] == pytest.approx(-np.log([0.8, 0.4, 0.7, 0.9]).mean())
    assert found["ece"] == pytest.approx((0.2 + 0.6 + 0.3 + 0.1) / 4)
    assert found["top3_accuracy"] == 1.0
    wide = np.array([[0.4, 0.3, 0.2, 0.1]] * 2)
    found = scores(wide, np.array([2, 3]), np.array([True, True]), bins=10)
    assert (found["top3_accuracy"], found["unseen_accuracy"]) == (0.5, 0.0)


def test_a_perfect_guess_has_no_loss_and_a_wrong_one_a_finite_loss() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert calibration(sure, np.array([0, 0]), 10)["nll"] == pytest.approx(0, abs=1e-9)
    assert np.isfinite(calibration(sure, np.array([0, 1]), 10)["nll"])


def test_a_country_without_rows_scores_zero_not_nan() -> None:
    table = per_country(np.array([0, 0]), np.array([0, 1]), ["A", "B", "C"]).to_dict("index")
    assert table["A"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert table["C"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_details_of_a_case_done_by_hand() -> None:
    table = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
    labels = np.array([1, 0, 1, 0])  # the first two names are spellings of one
    found = details(table, labels, ["Weber", "weber", "Kahn", "Ио"], bins=10)
    # Accuracy less its share of the rows of each group: -1/2, 1/4, 1/4; in ASCII: -1/3, 1/3.
    half = 1.96 * np.sqrt(3 / 8) / 4
    assert found["interval"] == pytest.approx({"lower": 0.75 - half, "upper": 1})
    half = 1.96 * np.sqrt(2 / 9) / 3
    ascii_ = {"support": 3, "accuracy": 2 / 3, "lower": 2 / 3 - half, "upper": 2 / 3 + half}
    assert found["scripts"]["ascii"] == pytest.approx(ascii_ | {"ece": (0.8 + 0.4 + 0.3) / 3})
    cyrillic = {"support": 1, "accuracy": 1.0, "lower": 1.0, "upper": 1.0, "ece": 0.5}
    assert found["scripts"]["cyrillic"] == cyrillic
    assert list(found["thresholds"]) == [f"0.{n}" for n in range(10)]
    assert found["thresholds"]["0.5"] == {"answered": 1.0, "right": 0.75}
    assert found["thresholds"]["0.8"] == {"answered": 0.25, "right": 0.0}
    assert found["thresholds"]["0.9"] == {"answered": 0.0, "right": 1.0}
    assert accuracy_interval(np.array([True, False, False]), np.arange(3))["lower"] == 0


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    table = np.array([[1.0, 0.0], [0.95, 0.05], [0.85, 0.15]])
    found = expected_calibration_error(table, np.array([1, 0, 0]), bins=10)
    assert found == pytest.approx((1 - 0.05 + 0.15) / 3)


def test_coverage_and_size_of_sets() -> None:
    sets = np.array([[True, False, True], [False, True, False], [True, True, True]])
    labels = np.array([0, 0, 2])
    assert coverage(sets, labels) == {"coverage": pytest.approx(2 / 3), "set_size": 2.0}
    assert coverage(None, labels) == {}
    table = means_by_country({"recall": labels == 0}, sets, labels, ["A", "B", "C"])
    assert table.loc["A"].to_dict() == {"recall": 1.0, "coverage": 0.5}
    assert table.loc["B"].isna().all()
