"""`onoma bench` on a toy corpus, and the test by which it compares two classifiers."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.bench import mcnemar
from tests.conftest import run, toy_rows, write_corpus


def test_mcnemar_counts_only_the_rows_where_one_is_right() -> None:
    right, wrong = np.ones(10, dtype=bool), np.zeros(10, dtype=bool)
    assert mcnemar(right, wrong) == mcnemar(wrong, right) == pytest.approx(2 * 0.5**10)
    assert mcnemar(right, right) == 1.0
    agreed = np.ones(1000, dtype=bool)
    more = mcnemar(np.concatenate([right, agreed]), np.concatenate([wrong, agreed]))
    assert more == pytest.approx(2 * 0.5**10)


@pytest.mark.slow
def test_contestants_are_measured_on_the_same_files_and_told_in_a_table(tmp_path: Path) -> None:
    write_corpus(tmp_path / "train.csv.gz", toy_rows(300, 1))
    write_corpus(tmp_path / "test.csv.gz", toy_rows(100, 2))
    contest = ["--train", "train.csv.gz", "--test", "test.csv.gz", "--json", "out.json"]
    few = ["--runs", "1", "--target", "0.999", "--only", "default", "svm"]
    done = run(tmp_path, "onoma", "bench", *contest, *few)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    for name in ("default", "svm"):
        summary = found["summary"][name]
        # Languages of the toy corpus share some names.
        assert 0.7 < summary["accuracy"] < 0.999
        assert summary["train_names_per_second"] > 0 < summary["predict_names_per_second"]
        assert f"{summary['accuracy']:.4f}" in done.stdout
    assert found["summary"]["default"]["epochs"] > 1
    assert 0 < found["summary"]["default"]["ece"] < 1
    assert found["summary"]["svm"]["seconds_to_target"] is None
    assert "over " in done.stdout


@pytest.mark.slow
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    none = tmp_path / "none.csv"
    done = run(tmp_path, "onoma", "bench", "--train", str(none), "--test", str(none))
    assert done.returncode == 1
    assert done.stderr.startswith("onoma: ") and str(none) in done.stderr.splitlines()[-1]
