"""People that a model is scored on are read as it reads names; which of them it has seen."""

from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import UserError
from stages.corpus.dataset import Names
from stages.corpus.people import people_files, read_people, surnames_in
from stages.corpus.vocabulary import Vocabulary

ROWS = 'given,surname,country\nKarim,Azizou,A\n,"van der Berg",B\nJ.,SMITH,B\nAnna,Kahn,C\n'


def read(tmp_path: Path, names: str, text: str = ROWS) -> list[list[str]]:
    path = tmp_path / "people.csv"
    path.write_text(text, encoding="utf-8")
    return read_people(path, ["A", "B"], names, "nfc", 100).to_numpy().tolist()


@pytest.mark.parametrize(
    ("people", "files"),
    [
        (None, {}),
        ("names_people.csv.gz", {"people": "names_people.csv.gz"}),
        (["names_persons.csv.gz", "a.b.csv"], {"persons": "names_persons.csv.gz", "a": "a.b.csv"}),
    ],
)
def test_the_metrics_of_a_file_begin_with_its_name(people: object, files: dict[str, str]) -> None:
    assert people_files(people) == files


def test_two_files_cannot_have_the_same_metrics() -> None:
    with pytest.raises(UserError, match=r"evaluate\.people: "):
        people_files(["people.csv", "names_people.csv.gz"])


def test_people_of_unknown_countries_are_left_out_and_full_names_are_for_models_that_read_them(
    tmp_path: Path,
) -> None:
    both = [["Azizou", "Karim Azizou", "A"], ["van der Berg", "", "B"], ["Smith", "Smith", "B"]]
    assert read(tmp_path, "both") == both
    assert read(tmp_path, "surnames") == [[surname, "", country] for surname, _, country in both]


def test_a_file_without_given_names_has_surnames_alone(tmp_path: Path) -> None:
    assert read(tmp_path, "both", "surname,country\nKahn,B\n") == [["Kahn", "", "B"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Kahn,B\n", "has no column 'surname'; its first line is its header"),
        ("surname,country\n123,B\n", "not a surname; set evaluate.people"),
        ("surname,country\nKahn\n", "line 2: 1 fields instead of 2"),
    ],
)
def test_a_file_that_is_something_else_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        read(tmp_path, "surnames", text)


def test_a_surname_is_seen_alone_and_at_the_end_of_a_full_name() -> None:
    vocabulary = Vocabulary("keep", ("LATIN", "SPACE"), tuple(" ABKabdehinrvz"))
    names = ["Kahn", "Nina van den Berg"]
    codes, offsets = vocabulary.encode(names)
    train = Names(codes, offsets, np.zeros(2, dtype=int), np.ones(2, dtype=bool))
    asked = ["Kahn", "van den Berg", "Nina", "Kah", "Berg"]
    assert surnames_in(train, asked, vocabulary).tolist() == [True, True, False, False, False]
