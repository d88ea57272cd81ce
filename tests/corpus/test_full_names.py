"""Full names, addresses and symbols are told apart from surnames by rules."""

import pytest

from stages.corpus.full_names import is_surname, surname


@pytest.mark.parametrize(
    "name",
    ["Müller", "O'Brien", "O’Brien", "van der Berg", "García-López", "St. John", "佐藤", "Smith ",
     "de la Cruz", "Ó Briain", "Kaʻahumanu", "Lady", "नेपाल", "श्रेष्\u200dठ"],
)  # fmt: skip
def test_surnames_pass(name: str) -> None:
    assert is_surname(name)


@pytest.mark.parametrize(
    "name",
    ["Merkel, Angela", "A. Merkel", "Dr. Merkel", "Herr Müller", "angela.merkel@bund.de",
     "Müller 2", "12345", "-", "...", "Smith/Jones", "Abe🙂", "Main St. 5"],
)  # fmt: skip
def test_other_texts_do_not(name: str) -> None:
    assert not is_surname(name)


@pytest.mark.parametrize(
    ("full", "expected"),
    [
        ("Angela Merkel", "Merkel"),
        ("Merkel, Angela", "Merkel"),
        ("Dr. Angela D. Merkel", "Merkel"),
        ("Ludwig van Beethoven", "van Beethoven"),
        ("van Beethoven, Ludwig", "van Beethoven"),
        ("Penélope de la Cruz", "de la Cruz"),
        ("Robert Downey Jr.", "Downey"),
        ("Merkel", "Merkel"),
        ("佐藤", "佐藤"),
        ("A. B.", "A. B."),
        ("", ""),
    ],
)
def test_surname_within_a_full_name(full: str, expected: str) -> None:
    assert surname(full) == expected
