"""Counting features: in blocks of names as at once."""

import numpy as np
import pandas as pd
import pytest

from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.model.wide import Wide
from stages.training import features
from tests.conftest import ROOT


def test_blocks_of_names_change_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    offsets = np.cumsum([0, *random.integers(3, 12, 200)])
    names = Names(random.integers(3, 9, offsets[-1]), offsets, random.integers(0, 5, 200), offsets)
    wide = Wide(Params.load(ROOT / "params.yaml").model, 5, 3)
    at_once = features.count_features(wide, names)
    monkeypatch.setattr(features, "BLOCK", 7)
    pd.testing.assert_frame_equal(features.count_features(wide, names), at_once)
    assert at_once["count"].sum() == 4 * offsets[-1] + np.sum(names.codes == 3)
