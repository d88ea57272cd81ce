"""Expected errors are one line and an exit status; bugs keep their traceback."""

from pathlib import Path

import pytest
from filelock import FileLock

from stages.core.errors import Interrupted, UserError, brief, exit_code


def failing(error: BaseException):
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    "error", [UserError("x: no"), Interrupted("x: no"), OSError("x: no")], ids=lambda e: type(e)
)
def test_an_expected_error_is_one_line_and_status_1(error, capsys) -> None:
    assert exit_code(failing(error)) == 1
    assert capsys.readouterr().err == "onoma: x: no\n"


def test_debug_shows_the_traceback(monkeypatch) -> None:
    monkeypatch.setenv("ONOMA_DEBUG", "1")
    with pytest.raises(UserError):
        exit_code(failing(UserError("x")))


def test_a_bug_is_raised() -> None:
    with pytest.raises(KeyError):
        exit_code(failing(KeyError("x")))


def test_a_lock_that_is_held_is_named(tmp_path: Path, capsys) -> None:
    lock = tmp_path / "train.lock"
    with FileLock(lock):
        assert exit_code(lambda: None, lock) == 1
    assert capsys.readouterr().err == (
        f"onoma: {lock}: another process holds it; wait for it to end\n"
    )
    assert exit_code(lambda: None, lock) == 0


def test_untrusted_text_becomes_one_short_printable_line() -> None:
    assert brief("a\n\x00b\t c" + "d" * 10**6, 20) == "a ?b c" + "d" * 11 + "..."
