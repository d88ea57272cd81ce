import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.vocabulary import BEGIN, END, UNICODE, UNKNOWN, Vocabulary, codepoints

names = st.lists(st.text(min_size=1, max_size=12), max_size=8)


def vocabulary_of(*names: str, case: str = "keep", min_count: int = 1) -> Vocabulary:
    counts = np.bincount(codepoints("".join(names)), minlength=UNICODE)
    return Vocabulary.from_counts(counts, case, min_count)


def test_unseen_characters_share_the_place_of_their_script() -> None:
    vocabulary = vocabulary_of("Abe", "佐藤")
    assert vocabulary.code("木") == vocabulary.code("村") != vocabulary.code("佐")
    assert vocabulary.code("z") == vocabulary.code("ß")
    assert vocabulary.code("z") != vocabulary.code("木")
    assert vocabulary.code("Ж") == UNKNOWN, "no Cyrillic was seen at all"


def test_rare_characters_train_their_script_s_place() -> None:
    vocabulary = vocabulary_of("aab", min_count=2)
    assert vocabulary.characters == ("a",)
    assert vocabulary.code("b") == vocabulary.code("z") != UNKNOWN


def test_folding_makes_one_character_of_two_and_never_shifts_positions() -> None:
    folded = vocabulary_of("Ab", case="fold")
    assert folded.code("a") == folded.code("A")
    assert vocabulary_of("Ab").code("a") != vocabulary_of("Ab").code("A")
    codes, _ = folded.encode(["İA"])  # the first has no one-character lower case
    assert len(codes) == 4


@given(names)
def test_flat_codes_are_the_names_one_by_one_between_marks(names: list[str]) -> None:
    vocabulary = vocabulary_of("Müller", "佐藤", "Abe")
    codes, offsets = vocabulary.encode(names)
    for n, name in enumerate(names):
        one = codes[offsets[n] : offsets[n + 1]].tolist()
        assert one == [BEGIN, *map(vocabulary.code, name), END]


def test_large_vocabularies_get_wider_codes() -> None:
    assert vocabulary_of("abc").dtype is np.uint16
    many = "".join(map(chr, [*range(0x3400, 0x9FFF), *range(0x20000, 0x2A6DF)]))
    assert vocabulary_of(many).dtype is np.uint32
