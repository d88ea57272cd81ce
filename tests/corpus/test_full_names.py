"""Names as people write them are read by rules, and texts that are no names are told apart."""

import contextlib
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus import full_names
from stages.corpus.full_names import canonical, split_columns, surname, usable_name
from stages.corpus.normalize import Rejected

PEOPLE = Path(__file__).resolve().parents[2] / "data/raw/people.toml"

# As written; as a model of full names is asked; the surname.
NAMES = """
Karim Azizou                     | Karim Azizou            | Azizou
Azizou, Karim                    | Karim Azizou            | Azizou
AZIZOU Karim                     | Karim Azizou            | Azizou
Karim AZIZOU                     | Karim Azizou            | Azizou
karim azizou                     | Karim Azizou            | Azizou
AZIZOU KARIM                     | Azizou Karim            | Karim
Kim Min-jun                      | Kim Min-jun             | Min-jun
LI Wei                           | Wei Li                  | Li
Nagy Péter                       | Nagy Péter              | Péter
佐藤 健                           | 佐藤 健                  | 佐藤
佐藤, 健                          | 佐藤 健                  | 佐藤
김 민준                           | 김 민준                  | 김
アンゲラ メルケル                    | アンゲラ メルケル            | メルケル
García Márquez, Gabriel          | Gabriel García Márquez  | García Márquez
Gabriel García Márquez           | Gabriel García Márquez  | Márquez
José Ortega y Gasset             | José Ortega y Gasset    | Ortega y Gasset
ORTEGA Y GASSET, José            | José Ortega y Gasset    | Ortega y Gasset
José da Costa e Silva            | José da Costa e Silva   | da Costa e Silva
Joviano de Lima Júnior           | Joviano de Lima Júnior  | de Lima
Neymar Júnior                    | Neymar Júnior           | Júnior
DE LA CRUZ, PENÉLOPE             | Penélope de la Cruz     | de la Cruz
Jong, Piet de                    | Piet de Jong            | de Jong
Jong de, Piet                    | Piet de Jong            | de Jong
VAN DER BERG Jan                 | Jan van der Berg        | van der Berg
vd Steen                         | van der Steen           | van der Steen
Jan v.d. Berg                    | Jan van der Berg        | van der Berg
Gerard 't Hooft                  | Gerard 't Hooft         | 't Hooft
Ludwig v. Beethoven              | Ludwig von Beethoven    | von Beethoven
Helmuth Graf von Moltke          | Helmuth von Moltke      | von Moltke
Guttenberg, Karl Freiherr von und zu | Karl von und zu Guttenberg | von und zu Guttenberg
Steffi Graf                      | Steffi Graf             | Graf
Hilma af Klint                   | Hilma af Klint          | af Klint
Mohammed bin Salman              | Mohammed bin Salman     | bin Salman
محمد بن سلمان                     | محمد بن سلمان            | بن سلمان
Ben Affleck                      | Ben Affleck             | Affleck
Ahmed Ben Bella                  | Ahmed Ben Bella         | Ben Bella
Ó DÁLAIGH Cearbhall              | Cearbhall Ó Dálaigh     | Ó Dálaigh
McDONALD Ronald                  | Ronald McDonald         | McDonald
WEIß Hans                        | Hans Weiß               | Weiß
John Smith, Jr.                  | John Smith              | Smith
Smith, John, M.D., Ph.D.         | John Smith              | Smith
Smith, John, 1950-2010           | John Smith              | Smith
Yo-Yo Ma, MA                     | Yo-Yo Ma                | Ma
Henry Ford II                    | Henry Ford              | Ford
Naosuke Ii                       | Naosuke Ii              | Ii
Amartya Sen                      | Amartya Sen             | Sen
Dr. med. Hans Müller             | Hans Müller             | Müller
Prof. Dr. Dr. h.c. Hans Müller   | Hans Müller             | Müller
Sir Ian McKellen                 | Ian McKellen            | McKellen
Lord, Jack                       | Jack Lord               | Lord
Müller (geb. Schmidt), Anna      | Anna Schmidt            | Schmidt
Marie Curie née Skłodowska       | Marie Skłodowska        | Skłodowska
Jane Doe (born Smith)            | Jane Smith              | Smith
Anna Nowak z domu Kowalska       | Anna Kowalska           | Kowalska
Max Born                         | Max Born                | Born
J Smith                          | Smith                   | Smith
Smith, JA                        | Smith                   | Smith
Müller HJ                        | Müller                  | Müller
J.R.R.Tolkien                    | Tolkien                 | Tolkien
J.-P. Sartre                     | Sartre                  | Sartre
John F. Kennedy                  | John Kennedy            | Kennedy
Lê Ý Tông                        | Lê Ý Tông               | Tông
Dwayne "The Rock" Johnson        | Dwayne Johnson          | Johnson
Dwayne 'The Rock' Johnson        | Dwayne Johnson          | Johnson
"Müller"                         | Müller                  | Müller
Mohammed bin Salman Al Saud      | Mohammed bin Salman Al Saud | Al Saud
""".strip().splitlines()  # fmt: skip

# What rules act on, for texts that are strange in the same way.
PIECES = """
Dr. dr. Prof. Dr.Hans med. h.c. Jr. Jr II IV MD MA Ma Ph.D. geb. geb née born z domu van VAN der DE
la LA y Y e i O Ó v. v.d. vd bin Ben BEN J. J J.R. j J.Smith A.B.C SMITH Smith smith McDONALD Graf
GRAF Freiherr zu , , ; ( ) " ' 't d' 佐藤 健 김 メルケル Sen Jun. 2 1950 HJ AN ß WEIß Eß ALİ ŉ Ǆ -
. ... / « » &amp;
"""
strange = st.lists(st.sampled_from([*PIECES.split(), "\u200b", "\n"]), max_size=7).map(" ".join)
texts = st.text(max_size=40) | strange | st.lists(strange, max_size=3).map("".join)


@pytest.mark.parametrize("line", NAMES)
def test_a_name_as_written_its_form_for_a_model_and_its_surname(line: str) -> None:
    written, form, family = (part.strip() for part in line.split("|"))
    assert (canonical(written), surname(written)) == (form, family)


@pytest.mark.parametrize(
    ("given_name", "family", "form"),
    [
        ("Karim", "Azizou", "Karim Azizou"),
        ("", "Azizou", "Azizou"),
        (" ", "Azizou, Karim", "Karim Azizou"),
        ("Piet de", "Jong", "Piet de Jong"),
        ("Dr. John F.", "Smith, Jr.", "John Smith"),
        ("健", "佐藤", "佐藤 健"),
        ("", "", ""),
    ],
)
def test_a_name_in_two_columns(given_name: str, family: str, form: str) -> None:
    assert split_columns(given_name, family) == form


@given(texts)
def test_any_text_is_read_and_its_form_is_its_own(text: str) -> None:
    form = canonical(text)
    assert canonical(form) == form
    assert isinstance(surname(text), str)


@given(
    st.one_of(texts, st.from_regex(r"[A-ZÀ-Ö][a-zß-öé]+( (van|de|Mc[A-Z]|[A-Z])[a-z]+)?,? ?\w*"))
)
def test_names_that_are_plain_are_read_as_by_all_rules(text: str) -> None:
    read = [rule(text) for rule in (canonical, surname)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_names, "_is_plain", lambda *_: False)
        assert read == [rule(text) for rule in (canonical, surname)]


@given(texts)
def test_a_usable_surname_stays_usable_and_unchanged(text: str) -> None:
    with contextlib.suppress(Rejected):
        name = usable_name(text, "nfc", 200, full=False)
        assert usable_name(name, "nfc", 200, full=False) == name


@pytest.mark.parametrize("rule", [canonical, surname])
@pytest.mark.parametrize(
    "piece", ["(", "geb. ", "a z domu b,", "' a", "„", "A ", "e\u0301", "\u200b"]
)
def test_a_long_text_stays_as_it_is_and_costs_little(
    rule: Callable[[str], str], piece: str
) -> None:
    assert isinstance(rule(piece * (1000 // len(piece))), str)
    assert rule(piece * 1_000_000) == piece * 1_000_000


@pytest.mark.parametrize(
    "name",
    ["Müller", "O'Brien", "van der Berg", "García-López", "St. John", "佐藤", "de la Cruz",
     "Ó Briain", "Lady", "नेपाल", "Merkel,", "Al\u200bi", "Null", "X", "Karim " * 16,
     "Ana Maria João da Silva", "佐藤 Smith"],
)  # fmt: skip
def test_surnames_are_usable(name: str) -> None:
    for full in (False, True):
        assert usable_name(name, "nfc", 100, full)


NO_NAMES = ["angela.merkel@bund.de", "Müller 2", "12345", "M&uuml;ller", "<b>Müller</b>", "-",
            "...", ",", "Smith/Jones", "Abe🙂", "Main St. 5", "A. B.", "Prof. Dr.",
            "Prof. Dr. Dr. h.c.", "Karim 2 Azizou", "=Cmd()", "@X"]  # fmt: skip
FULL_NAMES = ["Merkel, Angela", "A. Merkel", "J.R.R. Tolkien", "Dr. Merkel", "Herr Müller"]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("text", NO_NAMES + FULL_NAMES)
def test_other_texts_are_not(text: str, full: bool) -> None:
    reason = "not a name" if full else "not a surname"
    if full and text in FULL_NAMES:
        assert usable_name(text, "nfc", 100, full)
    else:
        with pytest.raises(Rejected, match=f"^{reason}$"):
            usable_name(text, "nfc", 100, full)


def test_the_order_in_which_real_people_are_written_does_not_matter() -> None:
    people = [
        person.strip().partition(", ")
        for groups in tomllib.loads(PEOPLE.read_text(encoding="utf-8")).values()
        for group in groups.values()
        for person in group.split(";")
    ]
    same = [
        canonical(f"{first} {last}")
        == canonical(f"{last}, {first}")
        == canonical(f"{last.upper()} {first}")
        == split_columns(first, last)
        for last, _, first in people
        if first
    ]
    assert len(same) > 1500
    assert sum(same) / len(same) >= 0.97
