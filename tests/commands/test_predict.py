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


TOP = [("Norwegian", 0.52), ("Danish", 0.4), ("German", 0.0764), ("Dutch", 0.0036)]
BOTH = "Scandinavian 92 %: Norwegian 52 %, Danish 40 %"


@pytest.mark.parametrize(
    ("countries", "reason", "words"),
    [
        ([], None, "Norwegian 52 %"),  # without held-out rows there are no sets
        (["Norwegian"], None, "Norwegian 52 %"),
        (["Norwegian", "Danish"], None, BOTH),
        (["Norwegian", "Danish", "German"], None, f"{BOTH}; German 8 %"),
        (["Norwegian", "Dutch"], None, "Norwegian 52 %, Dutch <1 %"),
        (["Norwegian", "Danish"], "ambiguous", f"unsure: {BOTH}"),
        (["Norwegian"], "unfamiliar", "unsure"),
    ],
)
def test_the_answer_is_the_set_after_the_group_that_has_several_of_it(
    countries: list[str], reason: str | None, words: str
) -> None:
    model = SimpleNamespace(groups={"Scandinavian": ["Danish", "Norwegian"]})
    group = ("Scandinavian", 0.92, "surname", None)
    answer = Prediction("Hansen", "Norwegian", 0.52, reason, countries, *group, TOP)
    assert in_words(model, answer) == words
    assert [percent(share) for share in (0.996, 0.994)] == [">99 %", "99 %"]


def test_format_characters_are_shown_as_escapes_but_stay_in_json(predict) -> None:
    name = "Abe\u202eb\u200d"
    assert predict(name)[1].split()[0] == r"Abe\u202eb\u200d"
    assert json.loads(predict("--json", name)[1])["name"] == name


def test_of_the_names_on_standard_input_bad_ones_are_told_and_the_others_answered(
    onnx_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = b"Abe\n\n" + b"x" * 10_000_000 + b"\n\xff\xfe\x00\nBob\r\n"
    reasons = ["empty name", "name longer than 40 characters", "control character in name"]

    def ask(*options: str) -> tuple[list[str], list[str]]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
        assert cli.main(["predict", "--model", str(onnx_folder), *options]) == 1
        out, err = capsys.readouterr()
        return out.splitlines(), err.splitlines()

    table, told = ask()
    assert [line.split()[0] for line in table[:-1]] == ["name", "Abe", "Bob"]
    assert [line.rpartition(": ")[2] for line in told] == reasons
    assert all(line.startswith("onoma: ") and len(line) < 150 for line in told)
    (_, *objects), told = ask("--json")
    answers = [*map(json.loads, objects)]
    assert [answer["reason"] for answer in answers[1:-1]] == reasons and told == []
    assert [answer["name"] for answer in answers[::4]] == ["Abe", "Bob"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--top", "0", "Abe"],
        *(["--abstain", number, "Abe"] for number in ("1.5", "nan")),
        *(["--input", "a.csv"], ["--output", "a.csv"]),
        *([*FILES, "Abe"], ["--reweight", "Abe"], [*FILES, "--processes", "2"]),
        *([*FILES, f"--separator={symbol}"] for symbol in ("ab", "a", '"', "\x01")),
        [*FILES, "--encoding=utf-16"],
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
