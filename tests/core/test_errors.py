"""Expected errors are one line and an exit status; bugs keep their traceback."""

import os
import signal

import pytest

from stages.core.errors import UserError, brief, exit_code
from stages.core.text import visible


def failing(error: BaseException):
    def main() -> None:
        raise error

    return main


MEMORY = (
    MemoryError(),
    MemoryError("Unable to allocate 8. TiB for an array"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("CUDA out of memory. Tried to allocate 8 TiB"),
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("x: no"), "x: no"),
        (OSError("x: no"), "x: no"),
        (UserError("a\x1b]0;b\x07\nc\u202e.csv: no"), r"a\x1b]0;b\x07\nc\u202e.csv: no"),
        *((error, f"out of memory ({error}); less at once needs less of it") for error in MEMORY),
    ],
)
def test_an_expected_error_and_too_little_memory_is_one_line_and_status_1(
    error: Exception, line: str, capsys
) -> None:
    assert exit_code(failing(error)) == 1
    assert capsys.readouterr().err == f"onoma: {line}\n"


def test_debug_shows_the_traceback(monkeypatch) -> None:
    monkeypatch.setenv("ONOMA_DEBUG", "1")
    with pytest.raises(UserError):
        exit_code(failing(UserError("x")))


@pytest.mark.parametrize("bug", [KeyError, RuntimeError])
def test_a_bug_is_raised(bug: type[Exception]) -> None:
    with pytest.raises(bug):
        exit_code(failing(bug("x")))


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_lets_context_managers_end_and_is_one_line_and_its_status(
    number: int, status: int, word: str, capsys
) -> None:
    left = []

    def main() -> None:
        # A shell starts what it runs in the background with Ctrl-C ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            os.kill(os.getpid(), number)
        finally:
            signal.signal(signal.SIGINT, before)
            left.append(number)

    assert exit_code(main) == status
    assert left == [number]
    assert capsys.readouterr().err == f"onoma: {word}\n"


def test_untrusted_text_becomes_one_short_printable_line() -> None:
    assert brief("a\n\x00b\t c" + "d" * 10**6, 20) == "a \\x00b c" + "d" * 8 + "..."


def test_characters_that_act_on_a_terminal_are_shown_as_escapes() -> None:
    assert visible("Łódź 佐藤, O'Neil") == "Łódź 佐藤, O'Neil"
    text = "a\x1b[31m\u202eb\u200d\u2028\ud800\x9b"
    assert visible(text) == r"a\x1b[31m\u202eb\u200d\u2028\ud800\x9b"
