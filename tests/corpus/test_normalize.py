"""One spelling per name: what looks the same is the same, and what cannot be a name is refused."""

import contextlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.normalize import Form, Rejected, clean, clean_country, normalise

# Of each range of characters that do not show.
ignorable = st.sampled_from(
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u180b\u180f\u200b\u200c\u200d\u200e\u200f\u202a"
    "\u202e\u2060\u2066\u206f\u3164\ufe00\ufe0f\ufeff\uffa0\ufff0\U0001bca0\U0001d173\U000e0001\U000e0100"
    "\U000e0fff"
)
forms = st.sampled_from(["nfc", "ascii"])
texts = st.text(max_size=30) | st.text(" ,;'’-ßŉİiαΐᾼ\u0301\u0307\u200b\u00adКа健", max_size=12)


def normalised(text: str, form: Form = "nfc") -> str:
    """The normalised name, or why there is none."""
    try:
        return normalise(text, form, 100)
    except Rejected as reason:
        return f"refused: {reason}"


KEPT = ["McDonald", "van der Berg", "de Vries", "Ó Briain", "St.", ",", "Nguyễn"]


@pytest.mark.parametrize(
    ("name", "form", "wanted"),
    [
        *((name, "nfc", name) for name in KEPT),
        ("Иванов", "ascii", "Ivanov"),
        ("Müller", "ascii", "Muller"),
        ("O'Brien", "ascii", "O'Brien"),
        # Turkish letters keep their dot and leave no combining one.
        ("ALİ", "nfc", "Ali"),
        ("i\u0307nan", "nfc", "İnan"),
        *(
            (f"{blank}de{blank}{blank}la Cruz{blank}", "nfc", "de la Cruz")
            for blank in " \t\u00a0\u3000"
        ),
        ("علی\u200cرضا", "nfc", "علیرضا"),
        ("x" + "\u200b" * 10_000, "nfc", "X"),
        ("x" + "\u200b" * 10_000_000, "nfc", "refused: name longer than 100 characters"),  # unread
        *((empty, "nfc", "refused: empty name") for empty in ("", " \t ", "\u3164 \ufeff")),
        ("\u0301", "ascii", "refused: empty name"),
    ],
    ids=lambda text: text[:9],
)
def test_a_name_is_normalised_or_refused(name: str, form: Form, wanted: str) -> None:
    assert normalised(name, form) == wanted


@pytest.mark.parametrize("control", ["\0", "\x1b", "\r", "\n", "\x85", "\u2028", "\x7f"])
def test_control_characters_are_refused_wherever_they_stand(control: str) -> None:
    for name in (f"A{control}be", f"Abe{control}", f"{control}Abe"):
        with pytest.raises(Rejected, match="control character in name"):
            clean(name)


def test_length_is_counted_after_composing() -> None:
    assert len(clean("e\u0301" * 10, max_length=10)) == 10
    # Blanks do not count, but a text that is mostly blanks is refused unread.
    assert clean("x" + " " * 279, max_length=10) == "x"
    for name in ("é" * 11, "x" * 10_000_000, "x" + " " * 280):
        with pytest.raises(Rejected, match="longer than 10 characters"):
            clean(name, max_length=10)
    with pytest.raises(Rejected, match="longer than 10 characters"):
        normalise("Karim Azizou", "nfc", 10)
    assert normalise("a\u200bbc", "nfc", 3) == "Abc"
    assert clean_country(" Peru ", 4) == "Peru"


@given(texts, forms)
def test_a_normalised_name_is_normalised(text: str, form: Form) -> None:
    with contextlib.suppress(Rejected):
        name = normalise(text, form, 200)
        assert normalise(name, form, 200) == name
        assert form == "nfc" or name.isascii()


@given(texts, ignorable, st.integers(0, 30), forms)
def test_characters_that_do_not_show_change_nothing(
    text: str, character: str, place: int, form: Form
) -> None:
    assert normalised(text[:place] + character + text[place:], form) == normalised(text, form)


@pytest.mark.parametrize(
    "name", ["Müller", "O'Brien", "Иванов", "Παπαδόπουλος", "García-López", "佐藤", "Nguyễn"]
)
def test_a_name_written_otherwise_becomes_the_same(name: str) -> None:
    spellings = [name.upper(), name.lower(), unicodedata.normalize("NFD", name), f"  {name} "]
    spellings += [name.replace("'", "’"), name.replace("'", "ʼ"), name.replace("-", "‐")]
    spellings += [f"{name},", f"{name} ;", f", {name}", f"\ufeff{name}"]
    assert {normalised(spelling) for spelling in spellings} == {name}
