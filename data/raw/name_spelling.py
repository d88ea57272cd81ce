"""How the corpus spells a name: clean, in Latin letters, and as what names are compared by."""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from anyascii import anyascii

from stages.corpus.normalize import script

HERE = Path(__file__).resolve().parent
SOURCES: dict[str, Any] = tomllib.loads((HERE / "sources.toml").read_text(encoding="utf-8"))
LONGEST = 20
MOST_BLANKS = 2

# ---- clean

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼʻ′´`", "'"))
_TRAILING = " '-.,;:"
# Not surnames, though the lists have them.
_PLACEHOLDERS = {
    *("doe", "name", "surname", "unknown", "dussen van"),
    *("koch ii", "the elder", "vi", "xx", "autres noms"),
}


def clean(text: str, particles: bool = False) -> str:
    """Return a listed name in its one spelling here, or "" if it is no usable surname.

    Unless ``particles``, those in front go (van Lennep -> Lennep): lists differ in having them.
    """
    words = _capitalised(" ".join(text.translate(_APOSTROPHES).split())).split(" ")
    while not particles and len(words) > 1 and words[0].lstrip("'")[:1].islower():
        words.pop(0)
    name = _capitalised(" ".join(words).rstrip(_TRAILING))
    return name if _is_usable(name) else ""


def _capitalised(name: str) -> str:
    # Lists in one case (CHEN, satou, wiśniewski) would otherwise be recognised by it.
    one_case = name.isupper() or name.islower()
    return unicodedata.normalize("NFC", name.title() if one_case else name)


def _is_usable(name: str) -> bool:
    return (
        name[:1].isalpha()
        and len(name) <= LONGEST
        and name.count(" ") <= MOST_BLANKS
        and all(c in " '-" or unicodedata.category(c)[0] in "LM" for c in name)
        and name.lower() not in _PLACEHOLDERS
        and fold(name) != ""
    )


def fold(name: str) -> str:
    """Reduce a name to lower-case a to z: Müller and Muller, Иванов and Ivanov are one."""
    return re.sub("[^a-z]", "", anyascii(name).lower())


# ---- romanise


def romanise(name: str, given: Iterable[str] = (), country: str = "") -> frozenset[str]:
    """Return a name's spellings in ASCII, other than its own: those given, or a transliteration.

    The country's replacements in sources.toml go before anyascii. Kanji need their spellings given:
    anyascii reads them as Chinese. Arabic script leaves out the vowels: arabic.txt has them.
    """
    if script(name[0]) == "ARABIC":
        return frozenset(_romanised_arabic(name))
    given = set(given)
    rules = SOURCES["romanisation"].get(country, [])
    spellings = given | {_replaced(spelling, rules) for spelling in given or {name}}
    return frozenset({clean(_in_ascii(spelling)) for spelling in spellings} - {"", name})


def _replaced(name: str, rules: list[list[str]]) -> str:
    if not rules:
        return name
    name = name.lower()
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name.title()


def _in_ascii(name: str) -> str:
    latin = anyascii(name)
    # Where a script has no capitals, anyascii begins every syllable with one: OuYang.
    if name.lower() == name.upper():
        latin = latin.capitalize()
    return latin if script(name[0]) == "LATIN" else latin.replace("'", "")


def _arabic_stem(name: str) -> tuple[str, str]:
    """Divide a name in Arabic script into its article and a stem in one spelling."""
    article, stem = re.fullmatch("((?:[آا]ل )?(?:ال)?)(.*)", name).groups()  # type: ignore[union-attr]
    stem = stem.translate(str.maketrans("أإآى", "اااي"))
    return article, re.sub("عبد ?ال", "عبد ال", stem)


def _arabic_table() -> dict[str, list[str]]:
    table = {}
    for line in (HERE / "arabic.txt").read_text(encoding="utf-8").splitlines():
        words = line.split()
        latin = [word for word in words if word.isascii()]
        table[_arabic_stem(" ".join(words[: -len(latin)]))[1]] = latin
    return table


_ARABIC = _arabic_table()


def _romanised_arabic(name: str) -> Iterator[str]:
    article, stem = _arabic_stem(name)
    for latin in _ARABIC.get(stem, ()):
        yield latin
        if article:
            yield f"Al-{latin}"
