"""Text from strangers: its encoding, and what may be shown on a terminal or in a spreadsheet."""

import string
import unicodedata

LONGEST = 1000  # characters of a text
FORMULA = tuple("=+-@＝＋－＠")  # a spreadsheet runs a cell that begins so
UNSURE = "unsure"  # in the place of a country, where a model has no answer
SET_SEPARATOR = "|"  # of the countries of a set
SEPARATORS = "\t " + string.punctuation.replace('"', "")
JOINERS = str.maketrans("", "", "\u200c\u200d")  # of Persian and Indic writing


def visible(text: str) -> str:
    r"""Text for a terminal: characters that would act on it or not show appear as escapes.

    These are control and format characters, surrogates, unassigned code points and the line and
    paragraph separators: U+202E, which turns the direction of writing, becomes ``\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text
    )


def is_text(value: object) -> bool:
    """Whether this is a text of bounded length that is safe to print."""
    if not isinstance(value, str) or len(value) > LONGEST:
        return False
    shown = value.translate(JOINERS)
    return visible(shown) == shown


def is_label(value: object) -> bool:
    """Whether this is a text that may name a country.

    No spreadsheet takes it for a formula, and it can be told from others in an answer.
    """
    if not isinstance(value, str) or value.strip().lower() in ("", UNSURE):
        return False
    return is_text(value) and value[0] not in FORMULA and SET_SEPARATOR not in value


def extends_ascii(encoding: str) -> bool:
    """Whether quotes, commas and line ends are the same bytes in this encoding as in ASCII.

    The lines and fields of a CSV are separated before its text is decoded.
    """
    try:
        return '"\n,'.encode(encoding) == b'"\n,'
    except (LookupError, ValueError):
        return False


def is_separator(text: str) -> bool:
    """Whether this can separate the fields of a CSV: a tab, a blank or an ASCII symbol."""
    return len(text) == 1 and text in SEPARATORS
