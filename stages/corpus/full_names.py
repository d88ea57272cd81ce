"""Which texts are no surname, and the surname within a full name: rules, see docs/predict.md."""

import unicodedata

_TITLES = """
dr prof mr mrs ms miss sir lady lord herr frau hr fr mme mlle monsieur madame sr sra srta don doña
signor signora ing mag dipl rev
"""
_SUFFIXES = "jr sr ii iii iv phd md esq"
# Words that belong to the surname after them.
_PARTICLES = """
van von vom zu zum zur der den dem het ter ten te 't de del della delle dello di da das do dos du
des d' la le les lo los las y e i san st saint ben bin ibn bint abu al el ul mac mc o ó ní ua uí
fitz af av
"""
TITLES, SUFFIXES, PARTICLES = (frozenset(x.split()) for x in (_TITLES, _SUFFIXES, _PARTICLES))
# Punctuation that surnames contain, and the joiners of Indic and Persian writing.
INSIDE = "'’ʼʻ‘`´-‐‑·・. \u200c\u200d"


def is_surname(name: str) -> bool:
    """Whether a text can be a surname alone.

    It cannot without a letter; with a digit, a comma or another symbol than `INSIDE`; with an
    initial (one letter and a period); or with a title before other words.
    """
    if name.isalpha():
        return True
    words = name.split()
    return (
        any(character.isalpha() for character in name)
        and all(unicodedata.category(c)[0] in "LM" or c in INSIDE for c in name)
        and not any(len(word) == 2 and word.endswith(".") for word in words)
        and not (len(words) > 1 and _key(words[0]) in TITLES)
    )


def surname(full_name: str) -> str:
    """The surname within a full name: before a comma, else the last word and its particles.

    "Merkel, Angela" -> "Merkel"; "Dr. Ludwig van Beethoven" -> "van Beethoven". A name of one word
    stays as it is, and so does one without a usable word.
    """
    before, comma, _ = full_name.partition(",")
    words = [
        word
        for n, word in enumerate(before.split())
        if not (len(word) == 2 and word.endswith("."))
        and _key(word) not in SUFFIXES
        and not (n == 0 and _key(word) in TITLES)
    ]
    if not words:
        return full_name
    if comma:
        return " ".join(words)
    first = len(words) - 1
    while first > 0 and _key(words[first - 1]) in PARTICLES:
        first -= 1
    return " ".join(words[first:])


def _key(word: str) -> str:
    return word.rstrip(".").lower()
