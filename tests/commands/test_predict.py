"""`onoma predict NAMES`: a small table, JSON, standard input, and bad names one line each."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.commands import cli
from stages.commands.predict import in_words, percent
from stages.core.text import UNSURE
from stages.serving.onnx_bundle import load
from stages.serving.prediction import Prediction

NAMES = ["Müller", "Nguyễn", "O'Brien", "Иванов", "佐藤"]
FILES = ["--input", "a.csv", "--output", "b.csv"]


@pytest.fixture
def predict(onnx_folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Run `onoma predict`; returns the lines that it prints."""

    def run(*arguments: str) -> list[str]:
        assert cli.main(["predict", "--model", str(onnx_folder), *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_table_has_a_line_for_each_name(predict, onnx_folder: Path) -> None:
    head, *lines, caption = predict(*NAMES)
    assert re.split("  +", head)[:3] == ["name", "answer", "most probable"]
    for answer, line in zip(load(onnx_folder).predict(NAMES), lines, strict=True):
        name, words, ranked, *reason = re.split("  +", line)
        assert (name, *reason) == (answer.name, *filter(None, [answer.reason]))
        assert ranked == ", ".join(f"{country} {percent(share)}" for country, share in answer.top)
        shown = [answer.country] if answer.reason else answer.set
        assert re.findall("[a-z]{3,}", words, re.IGNORECASE) == shown
    assert "of these 4 countries" in caption and "90 % probability" in caption


def test_the_answer_is_the_set_after_the_group_that_has_several_of_it() -> None:
    top = [("Norwegian", 0.52), ("Danish", 0.4), ("German", 0.0764), ("Dutch", 0.0036)]
    north = {"Scandinavian": ["Danish", "Norwegian"]}
    answer = Prediction("Hansen", "Norwegian", 0.52, None, [], None, None, "surname", None, top)

    def words(groups: dict, **changes: object) -> str:
        model = SimpleNamespace(groups=groups)
        return in_words(model, answer._replace(**changes))

    region = {"group": "Scandinavian", "group_probability": 0.92}
    assert words({}) == "Norwegian 52 %"  # without held-out rows there are no sets
    assert words(north, **region, set=["Norwegian"]) == "Norwegian 52 %"
    both = words(north, **region, set=["Norwegian", "Danish"])
    assert both == "Scandinavian 92 %: Norwegian 52 %, Danish 40 %"
    assert words(north, **region, set=["Norwegian", "Danish", "German"]) == f"{both}; German 8 %"
    assert words(north, **region, set=["Norwegian", "Dutch"]) == "Norwegian 52 %, Dutch <1 %"
    unsure = {"country": UNSURE, "reason": "ambiguous", "set": ["Norwegian", "Danish"]}
    assert words({}, **unsure) == "unsure: Norwegian 52 %, Danish 40 %"
    assert words(north, country=UNSURE, reason="unfamiliar", set=["Norwegian"]) == "unsure"
    assert [percent(share) for share in (1.0, 0.996, 0.994)] == [">99 %", ">99 %", "99 %"]


def test_format_characters_are_shown_as_escapes_but_stay_in_json(predict) -> None:
    name = "Abe\u202eb\u200d"
    assert predict(name)[1].split()[0] == r"Abe\u202eb\u200d"
    assert json.loads(predict("--json", name)[1])["name"] == name


def test_of_the_names_on_standard_input_bad_ones_are_told_and_the_others_answered(
    onnx_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = b"Abe\n\n" + b"x" * 10_000_000 + b"\n\xff\xfe\x00\nBob\r\n"
    reasons = ["empty name", "name longer than 40 characters", "control character in name"]
    program = ["predict", "--model", str(onnx_folder)]
    for options in ([], ["--json"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
        assert cli.main([*program, *options]) == 1
        out, err = capsys.readouterr()
        if not options:
            assert [line.split()[0] for line in out.splitlines()[:-1]] == ["name", "Abe", "Bob"]
            told = [line.rpartition(": ")[2] for line in err.splitlines()]
            assert told == reasons and max(map(len, err.splitlines())) < 150
            assert all(line.startswith("onoma: ") for line in err.splitlines())
    _, abe, *unusable, bob = map(json.loads, out.splitlines())
    assert (abe["name"], bob["name"], err) == ("Abe", "Bob", "")
    assert [answer["reason"] for answer in unusable] == reasons
    assert all(answer["country"] is None for answer in unusable)
    assert abe.keys() == unusable[0].keys()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--top", "0", "Abe"],
        ["--abstain", "1.5", "Abe"],
        ["--abstain", "nan", "Abe"],
        ["--input", "a.csv"],
        ["--output", "a.csv"],
        [*FILES, "Abe"],
        ["--reweight", "Abe"],
        *([*FILES, option] for option in ("--separator=ab", "--separator=a", '--separator="')),
        *([*FILES, option] for option in ("--separator=\x01", "--encoding=utf-16")),
        [*FILES, "--processes", "2"],
        ["--input", "*.csv", "--output", "-"],
    ],
)
def test_impossible_options_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["predict", *arguments])


def test_full_names_are_answered_by_their_surnames_in_a_column_of_their_own(predict) -> None:
    _, alone, full = map(json.loads, predict("--json", "--full-names", "Abe", "Angela Abe"))
    assert full["top"] == alone["top"] and full["read_as"] == "Abe"
    head, first_line, second_line, _ = predict("--full-names", "Angela Abe", "Bob")
    assert head.endswith("  read as") and first_line.endswith("  Abe")
    assert not second_line.endswith("  Bob")
