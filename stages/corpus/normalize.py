"""One spelling per name: what training and prediction do to a name before a model sees it."""

import re
import unicodedata
from typing import Literal

from anyascii import anyascii

from stages.core.text import LONGEST, SET_SEPARATOR, UNSURE, is_label

Form = Literal["nfc", "ascii"]

# Tabs count as blanks. Every other control character, and the two line separators that are not
# in that class, would break the line-oriented files that a name may end up in.
_FORBIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

NOT_A_LABEL = f"country does not print, begins as a formula, has a {SET_SEPARATOR} or is {UNSURE}"
_MOST_DECOMPOSED = 18  # characters that Unicode decomposes one into, at most
# Unicode's Default_Ignorable_Code_Point: characters that do not show, such as the zero-width space,
# the soft hyphen, marks of writing direction, the byte order mark and variation selectors.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
# Letters that are composed: with capitals, without them, and the small ones; "WEIß" is in capitals.
_CASED = "A-Za-zÀ-ÖØ-öø-ɏΈ-ώЀ-ҁҊ-ӿԱ-Ֆա-ևḀ-ỿ"
_UNCASED = "々ぁ-ゖァ-ヺー㐀-䶿一-鿿가-힣\u05d0-\u05ea\u0621-\u063a\u0641-\u064a\u0671-\u06d3"
_CASED_LETTERS = re.findall(f"[{_CASED}]", "".join(map(chr, range(0x1F00))))
_SMALL = "".join(c for c in _CASED_LETTERS if c.islower() and c != "ß")
_WORD = f"[{_CASED}]+[{_SMALL}]ß?"
# Names as most are spelled: words of two letters or more that end in a small one, or of letters
# without capitals. `normalise` changes none of them but those in lower case throughout.
PLAIN = re.compile(f"{_WORD}(?:[ -]{_WORD})*|[{_UNCASED}]+(?: [{_UNCASED}]+)*")
# At the ends of a name these are left over from a list or from another column.
_ENDS = " ,;:،、，；："

_PUNCTUATION = str.maketrans(dict.fromkeys("’ʼʻ‘`´′＇ʹ", "'") | dict.fromkeys("‐‑‒–—−", "-"))


class Rejected(ValueError):
    """This text is no usable name (or country); the message is the reason, in a few words."""


def clean(text: str, what: str = "name", max_length: int = 100) -> str:
    """Compose to NFC, trim blanks and join runs of them into one space.

    Raises:
        Rejected: nothing is left, it is too long (in characters), or it has control characters.
    """
    # Composing costs more than linear time on hostile input: look at the size first. Nothing usable
    # is longer than this.
    if len(text) > _MOST_DECOMPOSED * max_length + 100:
        raise Rejected(f"{what} longer than {max_length} characters")
    if not text.isprintable() and _FORBIDDEN.search(text):
        raise Rejected(f"control character in {what}")
    cleaned = " ".join(unicodedata.normalize("NFC", text).split())
    if not cleaned:
        raise Rejected(f"empty {what}")
    if len(cleaned) > max_length:
        raise Rejected(f"{what} longer than {max_length} characters")
    return cleaned


def clean_country(text: str, max_length: int) -> str:
    """`clean` a country.

    Raises:
        Rejected: as `clean`; also if it is no label.
    """
    country = clean(text, "country", max_length)
    if not is_label(country):
        raise Rejected(NOT_A_LABEL)
    return country


def drop_ignorable(text: str) -> str:
    """A text without the characters that do not show.

    The joiners that Persian and Sinhala are written with are among them: with and without, a name
    has the same answer. A text that is too long to be usable stays as it is.
    """
    if text.isascii() or len(text) > _MOST_DECOMPOSED * LONGEST:
        return text
    return _IGNORABLE.sub("", text)


def with_capitals(text: str) -> str:
    """Each word with a capital, composed as before: "ALİ AK" -> "Ali Ak"."""
    # Twice: after a mark that is not composed, title() takes the next letter for a first. The lower
    # case of İ is i and a combining dot.
    for _ in range(2):
        text = unicodedata.normalize("NFC", text.title().replace("i\u0307", "i"))
    return text


def normalise(text: str, form: Form, max_length: int) -> str:
    """`clean` a name, without the characters that do not show, and spell it the common way.

    Apostrophes and hyphens become ``'`` and ``-``, commas at its ends go, and a name in upper or
    lower case throughout gets capitals: MÜLLER and müller become Müller. For ``ascii``, it is
    written in Latin letters: "Иванов" -> "Ivanov".

    Raises:
        Rejected: as `clean`; also if no Latin letter stands for any of its characters.
    """
    name = clean(drop_ignorable(text), max_length=max_length)
    if form == "ascii" and not name.isascii():
        name = clean(anyascii(name), max_length=max_length)
    name = name.strip(_ENDS) or name
    if name.isupper() or name.islower():
        capitals = with_capitals(name)
        name = capitals if len(capitals) <= max_length else name
    return name if name.isascii() else name.translate(_PUNCTUATION)


def script(character: str) -> str:
    """Name the writing system of a character, e.g. ``LATIN``, ``CYRILLIC``, ``CJK``.

    The standard library does not know Unicode's script property, but the first word of a
    character's name is its script for every letter that a surname is written with.
    """
    return unicodedata.name(character, "UNKNOWN").split(" ")[0].split("-")[0]
