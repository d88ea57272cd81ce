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


@pytest.mark.parametrize("error", [UserError("x: no"), OSError("x: no")], ids=lambda e: type(e))
def test_an_expected_error_is_one_line_and_status_1(error, capsys) -> None:
    assert exit_code(failing(error)) == 1
    assert capsys.readouterr().err == "onoma: x: no\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8. TiB for an array"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 8 TiB"),
    ],
)
def test_too_little_memory_is_one_line(error, capsys) -> None:
    assert exit_code(failing(error)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"onoma: out of memory ({error})") and said.count("\n") == 1


def test_debug_shows_the_traceback(monkeypatch) -> None:
    monkeypatch.setenv("ONOMA_DEBUG", "1")
    with pytest.raises(UserError):
        exit_code(failing(UserError("x")))


def test_a_bug_is_raised() -> None:
    with pytest.raises(KeyError):
        exit_code(failing(KeyError("x")))
    with pytest.raises(RuntimeError):
        exit_code(failing(RuntimeError("x")))


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


def test_a_message_with_the_name_of_a_strangers_file_stays_one_line(capsys) -> None:
    def work() -> None:
        raise UserError("a\x1b]0;b\x07\nc\u202e.csv: no such file")

    assert exit_code(work) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err[:-1].isprintable()
