"""Markdown from outside is shown as text: no links, images, HTML or mentions of a stranger's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from stages.commands.rendering import write_from_template

HOSTILE = [
    "[click](http://evil.example)",
    "![x](http://evil.example/x.png)",
    "<img src=x onerror=alert(1)>",
    "<https://evil.example>",
    "https://evil.example",
    "www.evil.example",
    "@everyone",
    "mail a@b.example",
    "closes #1",
    "**bold** _it_ ~~no~~",
    "a`b` [c](http://evil.example)",
    "``a` <b>",
    "`",
    "a | b \\\\| [c](http://evil.example)",
    "two\n\n# lines",
    "&lt;b&gt;",
    "\u202eslow",
    "# head",
    "1. one",
    "- item",
    "trailing\\\\",
]


SPLIT = {"read": 1, "kept": 1, "rejected": 0, "duplicates": 0}


def inline(text: str) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield from token.children or []


def render(folder: Path, text: str) -> str:
    write_from_template(
        folder / "report.md",
        "report.md",
        **{"verdict": "failed", "reason": text, "commit": "0123456789", "branch": text},
        **{"champion": None, "sources": [text], "log": [f"0123abc {text}: {text}"]},
    )
    return (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_is_inert_in_the_report(tmp_path: Path, text: str) -> None:
    report = render(tmp_path, text)
    plain = render(tmp_path, "word")
    blocks = MarkdownIt("commonmark").enable("table")
    assert [t.type for t in blocks.parse(report)] == [t.type for t in blocks.parse(plain)]
    for token in inline(report):
        assert token.type in ("text", "code_inline", "softbreak"), token
        if token.type == "text":
            assert not any(mark in token.content for mark in ("@", "://", "www.", "#1", "\u202e"))


PLAIN = ["Côte d'Ivoire", "Guinea-Bissau", "Congo (Brazzaville)", "St. Lucia", "日本"]
PLAIN += [
    "F1 of Chad 0.1234 is below its floor of 0.2000; macro_f1 is lower",
    "0123abc Ann: Fix it",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_stays_as_it_is(tmp_path: Path, text: str) -> None:
    assert f"\n{text}\n" in render(tmp_path, text)


def test_a_cell_of_a_table_stays_one_cell(tmp_path: Path) -> None:
    for text in HOSTILE:
        write_from_template(
            tmp_path / "report.md",
            "report.md",
            **{"verdict": "rejected", "reason": "r", "commit": "c", "branch": "b"},
            **{"champion": None, "sources": [], "log": [], "params": "", "metrics": ""},
            gate={
                "challenger": {"accuracy": 0.5, "macro_f1": 0.5},
                "baseline": {"accuracy": {"bar": 0.5}, "macro_f1": {"bar": 0.5}},
                "rows": 9,
                "per_country": {text: {"support": 5, "f1": 0.5, "floor": 0.4}},
            },
            ingest={"train": SPLIT, "test": SPLIT, "overlap": {"names": 1, "pairs": 1}},
            drift=None,
        )
        lines = (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
        (row,) = (line for line in lines if line.endswith("| 5 | 0.5000 | 0.4000 |"))
        assert row.count("|") == 5
