"""Text of a stranger's is shown in Markdown as text: no links, images, HTML or mentions."""

import pytest
from markdown_it import MarkdownIt

from stages.core.markdown import inert

HOSTILE = [
    "[click](http://evil.example)",
    "![x](http://evil.example/x.png)",
    "<img src=x onerror=alert(1)>",
    "www.evil.example",
    "@everyone",
    "closes #1",
    "**bold** _it_ ~~no~~",
    "a`b` [c](http://evil.example)",
    "``a` <b>",
    "`",
    "a | b \\\\| [c](http://evil.example)",
    "two\n\n# lines",
    "\u202eslow",
    "# head",
    "1. one",
    "- item",
]
PLAIN = [
    "Côte d'Ivoire",
    "Guinea-Bissau",
    "Congo (Brazzaville)",
    "St. Lucia",
    "日本",
    "F1 of Chad 0.1234 is below its floor of 0.2000; macro_f1 is lower",
    "0123abc Ann: Fix it",
]
PAGE = "{0}\n\n- one {0}\n\n| a | b |\n|---|---|\n| {0} | 1 |\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_a_stranger_is_a_line_an_item_or_a_cell_and_nothing_else(text: str) -> None:
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(PAGE.format(inert(text)))
    plain = parser.parse(PAGE.format("word"))
    assert [token.type for token in tokens] == [token.type for token in plain]
    for token in (inner for outer in tokens for inner in outer.children or []):
        assert token.type in ("text", "code_inline"), token
        if token.type == "text":
            assert not any(mark in token.content for mark in ("@", "://", "www.", "#1", "\u202e"))


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert inert(text) == text
