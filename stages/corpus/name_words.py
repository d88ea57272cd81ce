"""The words of a full name, and those that are no names: titles, suffixes, initials, particles."""

import re
import unicodedata

from stages.corpus.normalize import with_capitals

# The tables are in lower case, without periods, see `key`.


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


TITLES = _set("""
dr prof mr mrs ms mx miss sir dame lady lord herr frau hr fr mme mlle monsieur madame sr sra srta
doña signor signora sig dott ing mag mgr dipl rev hon mudr judr phdr rndr bc lic inż
professor doctor doktor president senator captain
""")
# After a title: Dr. med. dent.
TITLE_ENDS = _set("med dent vet phil jur iur rer nat pol oec habil hab theol hc mult ing inż")
# Before a particle; elsewhere they are surnames: Karl Graf von Moltke, Steffi Graf.
NOBLE_TITLES = _set(
    "graf gräfin freiherr freifrau baron baroness prinz prinzessin fürst ritter edler"
)
SUFFIXES = _set("jr sr phd dphil drsc csc esq esquire 2nd 3rd")
# These are suffixes in capitals or with periods, else names.
CAPITAL_SUFFIXES = _set("md dds dvm mba msc bsc llb llm obe cbe mbe frs cpa")
PERIOD_SUFFIXES = _set("jun sen")
# These are degrees in capitals and after a comma, else names.
DEGREES = _set("ma ba bs ms do pe rn ra kc qc mp edd mph")
# Particles belong to the surname after them. These are in lower case and never given names.
LOWER_PARTICLES = _set("""
van von vom zu zum zur der den dem ter ten te het op aan 't 's und de des du da dos das y
bin ibn bint af av
""")
PARTICLES = LOWER_PARTICLES | _set("""
in bij auf am d' le la les lo las los del della delle dello degli dei dal dalla dela delos di do
san st saint ben abu abou al el ul ur ould ait aït mac mc o ó ní nic ua uí fitz ap
بن ابن بنت أبو ابو آل عبد
""")
# Particles that are given names too, where they come first.
GIVEN_NAMES_TOO = _set("ben al mac san")
# Between two surnames: Ortega y Gasset.
CONNECTORS = _set("y e i und")
# Brazilian suffixes that are a part of the name.
GENERATIONS = _set("júnior junior filho neto")
# Before the surname at birth.
BIRTH_WORDS = _set("geb geborene geborener geborenen née né rozená rođena урожденная урождённая")
LOWER_BIRTH_WORDS = _set("nee born nata nacida født född")  # "Born" and "Nee" are names

LETTER = r"[^\W\d_]"
INITIALS = re.compile(rf"{LETTER}(?:[.-]+{LETTER})*\.+|{LETTER}(?:[.-]+{LETTER})+")
# II, IV and so on, from two letters on; XI is a surname more often.
_NUMERAL = re.compile("(?=..)X{0,3}(?:IX|IV|VI{0,3}|I{2,3})?")
_INNER_PERIOD = re.compile(rf"\.(?={LETTER})")


def key(word: str) -> str:
    """A word as the tables have it."""
    return word.replace(".", "").lower()


def split_words(part: str, text: str) -> list[str]:
    """The words of a part of a text, without initials, numerals and noble titles.

    Args:
        part: the text between two commas.
        text: the whole of it. A text in lower case throughout has initials in lower case.
    """
    pieces = [piece for word in part.split() for piece in _pieces(word.strip(";:；：/|"))]
    words = []
    for n, (word, following) in enumerate(zip(pieces, [*pieces, ""][1:], strict=True)):
        if word in ("v.", "v") and not text.islower():
            words.append("von")
        elif word in ("O", "Y") and following:
            # O Sullivan, ORTEGA Y GASSET; but Wang Y Lee has an initial.
            if word != "Y" or (n and is_capitals(pieces[n - 1]) and is_capitals(following)):
                words.append(word)
        elif not (
            _is_initials(word, text)
            or (n and _NUMERAL.fullmatch(word))
            or (key(word) in NOBLE_TITLES and key(following) in PARTICLES)
        ):
            words.append(word)
    return words


def _pieces(word: str) -> list[str]:
    """Words that no blank separates: Dr.Hans, J.R.R.Tolkien."""
    if "." not in word[:-1] or key(word) in SUFFIXES | CAPITAL_SUFFIXES or INITIALS.fullmatch(word):
        return [word] if word else []
    return _INNER_PERIOD.sub(". ", word).split()


def _is_initials(word: str, text: str) -> bool:
    if len(word) == 1:  # Ó and Vietnamese Ý are words
        if word.isupper():
            return not unicodedata.decomposition(word)
        return text.islower() and word.islower() and word not in "yeoóvai"
    return INITIALS.fullmatch(word) is not None and (word[-1] == "." or word.isupper())


def trimmed(words: list[str]) -> list[str]:
    """Words without the titles before them and the suffixes after them."""
    start, stop = 0, len(words)
    while start < stop and (key(words[start]) in TITLES or (start and _ends_title(words[start]))):
        start += 1
    while start < stop and _is_suffix(words[stop - 1]):
        stop -= 1
    return words[start:stop]


def _ends_title(word: str) -> bool:
    return key(word) in TITLE_ENDS and (word.islower() or word[-1] == ".")


def _is_suffix(word: str) -> bool:
    return (
        key(word) in SUFFIXES
        or (key(word) in CAPITAL_SUFFIXES and (word.isupper() or "." in word))
        or (word[-1] == "." and key(word) in TITLES | PERIOD_SUFFIXES)
    )


def is_capitals(word: str) -> bool:
    """Whether a word is in capitals, as AZIZOU, McDONALD and WEIß are."""
    word = word.replace("ß", "")
    end = word[min(len(word) // 2, len(word) - 2) :]
    return len(word) > 1 and end.isupper() and end[-2:].isalpha()


def spelled(words: list[str], one_case: bool) -> list[str]:
    """Words with capitals where names have them.

    Args:
        words: the given names or the surname.
        one_case: whether the whole name is in upper or lower case. If not, only words in capitals
            change.
    """
    result: list[str] = []
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if one_case or is_capitals(word) or word == "Y":
            is_la = result[-1:] == ["de"] and key(word) in ("la", "las", "los")
            if following and (is_la or key(word) in LOWER_PARTICLES | CONNECTORS):
                word = word.lower()
            else:
                word = with_capitals(word)
                word = "Mc" + word[2:].capitalize() if word.startswith("Mc") else word
        result.append(word)
    return result
