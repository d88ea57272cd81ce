import contextlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.normalize import Rejected, clean, clean_country, normalise, script


@pytest.mark.parametrize(
    ("name", "latin"),
    [("Иванов", "Ivanov"), ("Nguyễn", "Nguyen"), ("Müller", "Muller"), ("O'Brien", "O'Brien")],
)
def test_ascii_transliterates_and_nfc_keeps_the_script(name: str, latin: str) -> None:
    assert normalise(name, "ascii", 100) == latin
    assert normalise(name, "nfc", 100) == name


def test_decomposed_characters_are_composed() -> None:
    assert clean(unicodedata.normalize("NFD", "Nguyễn")) == "Nguyễn"


@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "\u3000"])
def test_blanks_are_trimmed_and_runs_of_them_joined(blank: str) -> None:
    assert clean(f"{blank}de{blank}{blank}la Cruz{blank}") == "de la Cruz"


@pytest.mark.parametrize("control", ["\0", "\x1b", "\r", "\n", "\x85", "\u2028", "\x7f"])
def test_control_characters_are_refused_wherever_they_stand(control: str) -> None:
    for name in (f"A{control}be", f"Abe{control}", f"{control}Abe"):
        with pytest.raises(Rejected, match="control character in name"):
            clean(name)


@pytest.mark.parametrize("name", ["", "  ", "\t"])
def test_empty_names_are_refused(name: str) -> None:
    with pytest.raises(Rejected, match="empty name"):
        clean(name)


def test_a_name_without_any_latin_reading_is_refused_in_ascii() -> None:
    with pytest.raises(Rejected, match="empty name"):
        normalise("\u0301", "ascii", 100)


def test_length_is_counted_after_composing() -> None:
    assert len(clean("e\u0301" * 10, max_length=10)) == 10
    with pytest.raises(Rejected, match="longer than 10 characters"):
        clean("é" * 11, max_length=10)
    with pytest.raises(Rejected, match="longer than 10 characters"):
        clean("x" * 10_000_000, max_length=10)
    # Blanks do not count, but a text that is mostly blanks is refused unread.
    assert clean("x" + " " * 279, max_length=10) == "x"
    with pytest.raises(Rejected, match="longer than 10 characters"):
        clean("x" + " " * 280, max_length=10)
    assert normalise("abc", "nfc", 3) == "Abc"
    assert clean_country(" Peru ", 4) == "Peru"


@given(st.text(max_size=30))
def test_what_was_accepted_is_accepted_again_unchanged(text: str) -> None:
    try:
        name = clean(text)
    except Rejected:
        return
    assert clean(name) == name


@given(st.text(max_size=30))
def test_ascii_gives_ascii_or_refuses(text: str) -> None:
    with contextlib.suppress(Rejected):
        assert normalise(text, "ascii", 200).isascii()


@pytest.mark.parametrize(
    ("character", "name"),
    [("a", "LATIN"), ("я", "CYRILLIC"), ("佐", "CJK"), ("さ", "HIRAGANA"), ("\ue000", "UNKNOWN")],
)
def test_a_character_knows_its_script(character: str, name: str) -> None:
    assert script(character) == name


@pytest.mark.parametrize(
    "name", ["Müller", "O'Brien", "Иванов", "Παπαδόπουλος", "García-López", "佐藤"]
)
def test_a_name_written_otherwise_becomes_the_same(name: str) -> None:
    forms = [name.upper(), name.lower(), unicodedata.normalize("NFD", name), f"  {name} "]
    forms += [name.replace("'", "’"), name.replace("'", "ʼ"), name.replace("-", "‐")]
    assert {normalise(form, "nfc", 100) for form in forms} == {name}


@pytest.mark.parametrize("name", ["McDonald", "van der Berg", "de Vries", "Ó Briain"])
def test_capitals_within_a_name_stay(name: str) -> None:
    assert normalise(name, "nfc", 100) == name


def test_turkish_capitals_leave_no_combining_dot() -> None:
    assert normalise("ALİ", "nfc", 100) == "Ali"


@given(st.text(max_size=30), st.sampled_from(["nfc", "ascii"]))
def test_a_normalised_name_is_normalised(text: str, form: str) -> None:
    try:
        name = normalise(text, form, 100)  # type: ignore[arg-type]
    except Rejected:
        return
    assert normalise(name, form, 100) == name  # type: ignore[arg-type]
