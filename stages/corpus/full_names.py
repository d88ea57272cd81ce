"""Rules that read a name as people write it; docs/predict.md lists them.

Tables of our own, not python-nameparser: that is LGPL, takes 0.2 s to import and
170 µs a name, does not read ``AZIZOU Karim`` and keeps initials.
"""

import re
import unicodedata
from typing import Final

from stages.core.text import LONGEST
from stages.corpus.name_words import (
    BIRTH_WORDS,
    CONNECTORS,
    DEGREES,
    GENERATIONS,
    GIVEN_NAMES_TOO,
    INITIALS,
    LETTER,
    LOWER_BIRTH_WORDS,
    LOWER_PARTICLES,
    NOBLE_TITLES,
    PARTICLES,
    SUFFIXES,
    TITLES,
    is_capitals,
    key,
    spelled,
    split_words,
    trimmed,
)
from stages.corpus.normalize import PLAIN, Form, Rejected, clean, drop_ignorable, normalise

NOT_A_SURNAME: Final = "not a surname"
NOT_A_NAME: Final = "not a name"
SURNAME, FULL = 0, 1  # kinds of names

_INSIDE = "'’ʼʻ‘`´-‐‑·・. "  # what names contain besides letters
_COMMA = re.compile("[,،、，]")
# Initials, as in "Müller HJ" and "AJ Smith"; other short words in capitals may be surnames: LI Wei.
_CAPITAL_INITIALS = re.compile(
    "(?!NG$|AN$|OH$|IM$)(?:[B-DF-HJ-NP-TV-XZ]{2,3}|[AEIOU][B-DF-HJ-NP-TV-XZ])"
)
_VAN_DER = re.compile(r"(?<!\S)(?:v\. ?d\. ?|v/d |[vV]d )")
# A nickname or a remark. A quotation mark within a word is an apostrophe.
_ASIDE = re.compile(
    r"""\([^()]*\)|\[[^][]*\]|"[^"]*"|“[^“”]*”|„[^„“”]*[“”]|«[^«»]*»|(?<!\S)['‘][^'‘’]+['’](?!\S)"""
)
_BRACKETS = str.maketrans(dict.fromkeys('()[]"“”„«»', " "))
# The greedy first group leaves the last marker.
_BIRTH_NAME = re.compile(
    r"^(.*\S)\s?[\s,([]\s?(?:(?i:geb|roz|rođ|урожд|o\.s)\.\s*"
    rf"|(?i:{'|'.join(sorted(BIRTH_WORDS))}|z domu)\s"
    rf"|(?:{'|'.join(sorted(LOWER_BIRTH_WORDS))})\s)\s*"
    rf"({LETTER}[^],()[;]*)[])]?(.*)$"
)
_RULE_WORDS = TITLES | SUFFIXES | NOBLE_TITLES | BIRTH_WORDS | LOWER_BIRTH_WORDS | {"vd"}
_SURNAME_WORDS = _RULE_WORDS | PARTICLES | CONNECTORS


def unusable(name: str, full: bool) -> str | None:
    """Why a normalised name can neither be learned nor answered; None if it can.

    It needs a letter. Digits, commas and symbols other than apostrophes, hyphens and periods make
    it unusable, and so do initials and a title before other words.

    Args:
        name: text as `normalise` returns it; for a full name, of its `canonical` form.
        full: whether the model is one of full names.
    """
    if name.isalpha():
        return None
    words = name.split()
    has_words = "".join(words).isalpha() or (
        any(map(str.isalpha, name))
        and all(unicodedata.category(c)[0] in "LM" or c in _INSIDE for c in name)
        and not any(word[-1] == "." and INITIALS.fullmatch(word) for word in words)
    )
    if has_words and not (key(words[0]) in TITLES and (len(words) > 1 or name[-1] == ".")):
        return None
    return NOT_A_NAME if full else NOT_A_SURNAME


def usable_name(text: str, form: Form, max_length: int, full: bool) -> str:
    """The normalised name in a text: of a model of full names, its `canonical` form.

    Raises:
        Rejected: as `normalise`, or with the reason of `unusable`.
    """
    if not is_usual(text, form, max_length):
        text = normalise(canonical(text) if full else text, form, max_length)
        if reason := unusable(text, full):
            raise Rejected(reason)
    return text


def is_usual(text: str, form: Form = "nfc", max_length: int = LONGEST) -> bool:
    """Whether `usable_name` would return a text as it is; a quick test that most names pass."""
    fits = len(text) <= max_length and (form == "nfc" or text.isascii())
    return fits and _is_plain(text, _RULE_WORDS)


def _is_plain(text: str, exceptions: frozenset[str]) -> bool:
    """Whether a text matches `PLAIN`, and none of its words is among the exceptions."""
    if len(text) > LONGEST or not PLAIN.fullmatch(text) or text.islower():
        return False
    return exceptions.isdisjoint(text.lower().split())


def canonical(full_name: str) -> str:
    """The form of a name that a model of full names learns and answers.

    A surname that a comma or capitals tell comes last: "Azizou, Karim" and "AZIZOU Karim" become
    "Karim Azizou"; in Chinese, Japanese and Korean writing it comes first. Other words stay in
    their order. Titles, suffixes, initials and nicknames are left out. A surname at birth replaces
    the present one. A text that has nothing else stays as it is.
    """
    for _ in range(9):  # what one rule leaves may be for another
        given, family = _given_and_family(full_name)
        words = family + given if _is_family_first(family) else given + family
        before, full_name = full_name, " ".join(words)
        if full_name == before or is_usual(full_name):
            break
    return full_name


def split_columns(given: str, family: str) -> str:
    """`canonical` of a name in two columns; without a given name, of the surname alone."""
    if not given.strip():
        return canonical(family)
    return canonical(f"{_COMMA.sub(' ', family)}, {_COMMA.sub(' ', given)}")


def surname(full_name: str) -> str:
    """The surname in a full name, as a comma or capitals tell it, else the last word.

    The particles before that word are part of it: "Dr. Ludwig van Beethoven" -> "van Beethoven". In
    Chinese, Japanese and Korean writing it is the first word. Of two Spanish surnames it is the
    second: without a comma, the first looks like a given name. A text of one word stays as it is,
    and so does one without a usable word.
    """
    given, family = _given_and_family(full_name)
    return " ".join(family or _by_order(given)[1])


def kind(name: str) -> int:
    """`FULL` if a `canonical` name has more than a surname, else `SURNAME`."""
    if " " not in name:
        return SURNAME
    # Quick: without particles, the surname is the last word.
    is_full = _is_plain(name, _SURNAME_WORDS) or surname(name).lower() != name.lower()
    return FULL if is_full else SURNAME


def _given_and_family(text: str) -> tuple[list[str], list[str]]:
    """The words of the given names and of the surname; the latter none if nothing tells it."""
    before, comma, after = text.partition(", ")
    if _is_plain(before, _SURNAME_WORDS) and (not comma or _is_plain(after, _SURNAME_WORDS)):
        return (after.split(), before.split()) if comma else (before.split(), [])
    try:
        text = clean(drop_ignorable(text), max_length=LONGEST)
    except Rejected:
        return [text], []
    if text.replace(" ", "").isalpha() and text.lower() == text.upper():
        return text.split(), []  # in a script without capitals, only symbols matter
    at_birth = ""
    while match := _BIRTH_NAME.search(text):
        at_birth = at_birth or match[2]
        text = match[1] + match[3]
    text = _VAN_DER.sub("van der ", _without_asides(text))
    parts = [split_words(part, text) for part in _COMMA.split(text)]
    first, *others = (trimmed(words) for words in parts)
    given = [word for words in others if not _is_remark(words, text) for word in words]
    given, family = _by_comma(given, first or parts[0][-1:]) if given else _by_capitals(first)
    if birth_words := trimmed(split_words(at_birth, at_birth)):
        given, family = given if family else _by_order(given)[0], birth_words
    if not given and not family:
        return [text], []
    name = " ".join(given + family)
    one_case = name.isupper() or name.islower()
    return spelled(given, one_case), spelled(family, one_case)


def _without_asides(text: str) -> str:
    """Without nicknames and remarks in quotation marks or brackets, if anything is left."""
    rest = _ASIDE.sub(" ", text)
    kept = rest if any(map(str.isalpha, rest)) else text
    return " ".join(kept.translate(_BRACKETS).split()) or text


def _is_remark(words: list[str], text: str) -> bool:
    """Whether what follows a comma is no given name: years, a peerage, a degree."""
    return any(map(str.isdigit, "".join(words))) or (
        not text.isupper() and all(word.isupper() and key(word) in DEGREES for word in words)
    )


def _by_comma(given: list[str], family: list[str]) -> tuple[list[str], list[str]]:
    """Particles after the names come before the surname: Jong, Piet de."""
    if not any(map(is_capitals, family)):  # Smith, JA
        given = [word for word in given if len(word) > 3 or not is_capitals(word)]
    given, particles = _without_particles(given)
    family, more = _without_particles(family)
    return given, particles + more + family


def _without_particles(words: list[str]) -> tuple[list[str], list[str]]:
    """The words, and the particles at their end."""
    stop = len(words)
    while stop and key(words[stop - 1]) in LOWER_PARTICLES and not words[stop - 1].istitle():
        stop -= 1
    return words[:stop], words[stop:]


def _by_capitals(words: list[str]) -> tuple[list[str], list[str]]:
    """The words in capitals are the surname if they stand together and other words are not."""
    capitals = [n for n, word in enumerate(words) if is_capitals(word)]
    if len(words) > 1 and len(capitals) == 1 and _CAPITAL_INITIALS.fullmatch(words[capitals[0]]):
        return [word for word in words if not is_capitals(word)], []
    if not capitals:
        return words, []
    start, stop = capitals[0], capitals[-1] + 1
    while start > 0 and _is_particle(words, start - 1):
        start -= 1
    given, family = words[:start] + words[stop:], words[start:stop]
    together = all(is_capitals(word) or key(word) in PARTICLES for word in family)
    return (given, family) if given and together else (words, [])


def _by_order(words: list[str]) -> tuple[list[str], list[str]]:
    """The last word, its particles and connected surnames are the surname."""
    if _is_family_first(words):
        return words[1:], words[:1]
    while len(words) > 2 and key(words[-1]) in GENERATIONS:
        words = words[:-1]
    start = len(words) - 1
    while start > 0:
        if words[start - 1] in CONNECTORS and start > 1:
            start -= 2
        elif _is_particle(words, start - 1):
            start -= 1
        else:
            break
    return words[:start], words[start:]


def _is_particle(words: list[str], n: int) -> bool:
    """Whether a word belongs to the surname after it; the first of Ben Affleck does not."""
    word = key(words[n])
    return word in PARTICLES and not (n == 0 and words[0].istitle() and word in GIVEN_NAMES_TOO)


def _is_family_first(words: list[str]) -> bool:
    """Whether words are in hiragana, Han characters or Hangul; katakana is for foreign names."""
    first = words[0][:1] if words else ""
    return "\u3041" <= first <= "\u3096" or "\u3400" <= first <= "\u9fff" or "가" <= first <= "힣"
