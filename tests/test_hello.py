import doctest
import json
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from stages import hello
from stages.core.errors import UserError
from stages.model.lessons import Stepped, WholeSequence
from tests.conftest import ROOT, set_params

VARIANTS = ["stepped", "sequence", "embedded"]
PAGES = ["lessons.md", "lessons.zh.md"]


@pytest.fixture
def learn(folder: Path) -> Callable[..., dict]:
    """Give a function that runs the stage with changed parameters, and returns its metrics."""

    def learn(**params: object) -> dict:
        set_params(folder, train__device="cpu", **params)
        hello.main()
        return json.loads(Path("metrics/hello.json").read_text())

    return learn


def test_all_three_write_ohlol_with_the_shipped_parameters(learn, capsys) -> None:
    metrics = learn()
    assert list(metrics) == VARIANTS
    for result in metrics.values():
        assert result["predicted"] == "ohlol"
        assert result["right"] is True
    curves = pd.read_csv("metrics/hello/loss.csv")
    assert list(curves.columns) == ["epoch", *VARIANTS]
    assert list(curves["epoch"]) == list(range(1, 16))
    for name in VARIANTS:
        assert curves[name].iloc[-1] == pytest.approx(metrics[name]["loss"])
        assert curves[name].iloc[-1] < curves[name].iloc[0]
    # The same seed gives both the same weights; one loss is a sum over characters, one a mean.
    assert curves["stepped"][0] == pytest.approx(5 * curves["sequence"][0], rel=1e-5)
    printed = capsys.readouterr().out
    assert len(re.findall(r"epoch \d+/15: loss \d+\.\d{4}, [ehlo]{5}\n", printed)) == 45


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_cell_stepped_by_hand_equals_the_layer_with_the_same_weights(cell: str) -> None:
    torch.manual_seed(1)
    layer, stepped = WholeSequence(cell, 6), Stepped(cell, 6)
    weights = {name.removesuffix("_l0"): weight for name, weight in layer.layer.named_parameters()}
    stepped.cell.load_state_dict(weights)
    codes = torch.randint(6, (3, 9))
    torch.testing.assert_close(stepped(codes), layer(codes), rtol=0, atol=1e-6)


def test_with_more_epochs_another_cell_and_other_words_are_learned(learn) -> None:
    words = {"hello__input": "你好世界", "hello__target": "hey!"}
    metrics = learn(hello__epochs=60, hello__cell="gru", **words)
    assert [result["predicted"] for result in metrics.values()] == ["hey!"] * 3


def test_what_is_not_learned_yet_is_told_and_no_error(learn, capsys) -> None:
    metrics = learn(hello__epochs=1, hello__target="lolol")
    assert not all(result["right"] for result in metrics.values())
    assert "wrong, not yet lolol" in capsys.readouterr().out


def test_a_device_that_computes_nonsense_is_told_in_one_line_and_nothing_is_written(
    learn, monkeypatch
) -> None:
    nonsense = [(float("nan"), torch.zeros(1, 5, dtype=torch.int64))]
    monkeypatch.setattr(hello, "learn", lambda *arguments: nonsense)
    with pytest.raises(UserError, match=r"loss of stepped is nan on cpu; .*stepped_rate"):
        learn()
    assert not Path("metrics").exists()


class CodeBlocks(doctest.DocTestParser):
    """Examples end where their block of code does."""

    def parse(self, text: str, name: str = "") -> list:
        return super().parse(text.replace("\n```", "\n\n"), name)


@pytest.mark.parametrize("page", PAGES)
def test_every_shape_and_name_stated_in_the_lessons_holds(page: str, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(
        str(ROOT / "docs" / page), module_relative=False, encoding="utf-8", parser=CodeBlocks()
    )
    assert tried and not failed
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    names = re.findall(r"`((?:stages|torch)\.[\w.]+)`", text)
    assert [pkgutil.resolve_name(name) for name in names]


def test_both_languages_show_the_same_code() -> None:
    english, chinese = (
        [(example.source, example.want) for example in CodeBlocks().get_examples(text)]
        for text in ((ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES)
    )
    assert english == chinese
