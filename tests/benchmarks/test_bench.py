"""`make bench` on a toy corpus, and the test by which it compares two classifiers."""

import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks import bench
from tests.benchmarks.common import mcnemar
from tests.conftest import toy_rows, write_corpus


def test_mcnemar_counts_only_the_rows_where_one_is_right() -> None:
    right, wrong = np.ones(10, dtype=bool), np.zeros(10, dtype=bool)
    assert mcnemar(right, wrong) == mcnemar(wrong, right) == pytest.approx(2 * 0.5**10)
    assert mcnemar(right, right) == 1.0
    agreed = np.ones(1000, dtype=bool)
    more = mcnemar(np.concatenate([right, agreed]), np.concatenate([wrong, agreed]))
    assert more == pytest.approx(2 * 0.5**10)


@pytest.mark.slow
@pytest.mark.usefixtures("forked_stages")
def test_contestants_are_measured_on_the_same_files_and_told_in_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_corpus(tmp_path / "train.csv.gz", toy_rows(300, 1))
    test = write_corpus(tmp_path / "test.csv.gz", toy_rows(100, 2))
    options = f"--train {train} --test {test} --runs 1 --target 0.999 --only fast svm"
    monkeypatch.setattr(sys, "argv", f"bench {options}".split())
    bench.main()
    table = pd.read_csv(StringIO(capsys.readouterr().out), sep=r"\s+", index_col=0, na_values="-")
    # Languages of the toy corpus share some names.
    assert table.loc["accuracy"].between(0.7, 0.998).all()
    assert (table.loc["train_seconds"] > 0).all()
    assert 0 < table.loc["ece", "fast"] < 1
    assert table.loc[["ece", "seconds_to_target"], "svm"].isna().all()
