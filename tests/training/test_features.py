"""Counting and choosing the features of the linear term."""

import numpy as np
import pandas as pd
import pytest

from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.model.wide import Wide
from stages.training import features
from tests.conftest import ROOT


@pytest.fixture
def names() -> Names:
    """200 names of 5 countries, of 6 characters."""
    random = np.random.default_rng(1)
    offsets = np.cumsum([0, *random.integers(3, 12, 200)])
    return Names(random.integers(3, 9, offsets[-1]), offsets, random.integers(0, 5, 200), offsets)


def wide(**changes: object) -> Wide:
    return Wide(Params.load(ROOT / "params.yaml").model.model_copy(update=changes), 5, 3)


def test_blocks_of_names_change_no_count(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, short = features.count_features(wide(), names)
    monkeypatch.setattr(features, "NAMES", 7)
    in_blocks, short_in_blocks = features.count_features(wide(), names)
    pd.testing.assert_frame_equal(in_blocks, at_once)
    assert short_in_blocks.tolist() == short.tolist()
    assert at_once["count"].sum() == 4 * names.offsets[-1] + np.sum(names.codes == 3)


def test_the_most_frequent_features_are_chosen_and_rare_ones_are_long(names: Names) -> None:
    small = wide(wide_frequent=9, wide_rare=200)
    features.choose_features(small, names)
    counts, short = features.count_features(small, names)
    totals = counts.groupby("feature")["count"].sum()
    frequent, rare = set(small.frequent_keys.tolist()), set(small.rare_keys.tolist())
    others = totals[~totals.index.isin([*frequent, *rare])]
    assert totals[list(frequent)].min() >= totals[list(rare)].max()
    assert totals[list(rare)].min() >= others[~others.index.isin(short)].max()
    assert not rare & set(short.tolist()) and others.index.isin(short).any()
