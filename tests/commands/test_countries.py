"""What a model says about its countries; test_contract has JSON."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.commands import cli
from stages.serving.countries import about_countries
from stages.serving.predictor import Predictor
from tests.serving.made import COUNTRIES, config, held_out

PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.4, 0.6, 0.0], [0.3, 0.7, 0.0]])
ROWS = held_out(
    4,
    labels=np.array([0, 0, 0, 1]),
    probabilities=PROBABILITIES,
    thresholds=np.array([[0.5, 0.65, 0.5]]),
)
CONFIG = config(
    held_out=ROWS, training_names=[70, 20, 10], groups={"Europe": ["Austria", "Кирилия"]}
)


def test_f1_and_coverage_are_those_of_the_held_out_names() -> None:
    austria, japan, cyrillia = about_countries(Predictor(lambda codes: codes, CONFIG))
    assert austria == ("Austria", "Europe", 70, 3, 0.8, 0.6667)
    assert (japan.group, japan.f1, japan.coverage) == (None, 0.6667, 1.0)
    assert (cyrillia.held_out, cyrillia.f1, cyrillia.coverage) == (0, None, None)
    bare = replace(CONFIG, held_out=None, training_names=[])
    for about in about_countries(Predictor(lambda codes: codes, bare)):
        assert about[2:] == (None, 0, None, None)


def test_the_table_has_a_row_for_each_country(
    onnx_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["countries", "--model", str(onnx_folder)]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "country" and "in the set" in header
    assert [row.split()[0] for row in rows[:-3]] == [*COUNTRIES]
