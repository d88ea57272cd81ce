"""What ingest makes of rows: clean names and countries, or a reason; headers, columns, files."""

import gzip
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from stages.core.errors import UserError
from stages.core.text import SET_SEPARATOR, UNSURE, is_label
from stages.corpus.normalize import NOT_A_LABEL
from stages.corpus.reading import check_countries, read
from tests.corpus.test_tables import INGEST, TWO, by_ingest

FRAME = pd.DataFrame(TWO, columns=["name", "country"])
COLUMNS = {"name": "name", "country": "country"}


def rows_of(source: Path | str, **changes: object) -> list[tuple[str, ...]]:
    """The rows of files of which no row is refused."""
    params = type(INGEST).model_validate(INGEST.model_dump() | changes)
    rows, refused = by_ingest(Path(source), **dict(params))
    assert not refused
    return rows


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b" \t,Italy", "empty name"),
        (b"Rossi,", "empty country"),
        (b"Ro\0ssi,Italy", "control character in name"),
        (b"Rossi,It\x1baly", "control character in country"),
        (b'"Ros\nsi",Italy', "control character in name"),
        (b"x" * 1_000_000 + b",Italy", "name longer than 100 characters"),
        (b"Rossi," + b"x" * 101, "country longer than 100 characters"),
    ],
)
def test_a_row_without_use_is_refused_with_its_line(line: bytes, reason: str, file: Path) -> None:
    file.write_bytes(b"Rossi,Italy\n" + line + b"\nWeber,Germany\n")
    assert by_ingest(file) == ([("Rossi", "Italy"), ("Weber", "Germany")], [(2, reason)])


def test_an_empty_file_has_no_rows_and_a_one_row_file_has_one(file: Path) -> None:
    for empty in (b"", b"\n\n", b"\xef\xbb\xbf", gzip.compress(b""), b"name,country\n"):
        file.write_bytes(empty)
        assert rows_of(file) == []
    file.write_bytes(b"\xef\xbb\xbfRossi,Italy")
    assert rows_of(file) == [("Rossi", "Italy")]


@pytest.mark.parametrize(
    "content",
    [
        "name,country\nRossi,Italy\nMüller,Germany\n",
        "Surname, Country of origin\n Rossi,Italy \nMu\u0308ller,Germany\n",
        "LAST_NAME,NATIONALITY\nRossi,Italy\nMüller,Germany\n",
        '"Family-name" , "Birth country"\nRossi,Italy\nMüller,Germany\n',
        "\ufefflastName,country\nRossi,Italy\nMüller,Germany\n",
        "Country,Surname\nItaly,Rossi\nGermany,Müller\n",
    ],
)
def test_a_header_in_any_usual_spelling_says_which_column_is_which(
    content: str, file: Path
) -> None:
    file.write_text(content, encoding="utf-8")
    assert rows_of(file) == TWO


@pytest.mark.parametrize(("header", "count"), [("yes", 1), ("no", 2), ("auto", 2)])
def test_the_header_is_what_params_say(header: str, count: int, file: Path) -> None:
    file.write_bytes(b"Name,Italy\nRossi,Country\n" if header == "no" else b"Abe,Japan\nBob,Chad\n")
    assert len(rows_of(file, header=header)) == count
    (chunk,) = read(str(file), INGEST.model_copy(update={"header": header}))
    assert chunk.first_rows == [("Japan", f"{file}, line 1: Abe,Japan")] * (header == "auto")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "Last Name,Land\n",
            r"line 1: .* Last Name,Land, which may be a header; set ingest.header",
        ),
        ("\n\nFamilienname,Country\n", r"line 3: .* Familienname,Country, which may be a header"),
        (",name,country\n0,Rossi,Italy\n", r"the columns are ,name,country; set ingest.columns"),
        ("Surname;Country\nRossi;Italy\n", r"fields are separated by ';', set ingest.separator"),
        ("Surname\tCountry\nRossi\tItaly\n", r"separated by '\\t', set ingest.separator"),
    ],
)
def test_what_reads_like_a_header_but_is_not_clear_is_refused_with_the_key(
    content: str, said: str, file: Path
) -> None:
    file.write_text(content)
    with pytest.raises(UserError, match=said):
        rows_of(file)


def test_columns_are_found_by_name_whatever_stands_between_them(file: Path) -> None:
    FRAME.to_csv(file)  # with an index
    assert rows_of(file, columns=COLUMNS) == TWO
    frame = pd.DataFrame({"note": ['a "b", c', "d;e\nf"], "land": ["Italy", "Germany"], "x": 1})
    frame.assign(nom=["Rossi", "Müller"]).to_csv(file, index=False)
    assert rows_of(file, columns={"name": "nom", "country": "land"}) == TWO
    for wanted in ({"name": "nom", "country": "pays"}, {"name": "nom", "country": "nom"}):
        with pytest.raises(UserError, match=r"columns are note,land,x,nom; set ingest.columns"):
            rows_of(file, columns=wanted)


def test_parquet_is_known_by_its_content_and_its_text_may_be_a_dictionary(file: Path) -> None:
    frame = FRAME.astype("category").assign(id=[1, 2])
    frame.to_parquet(file)
    assert rows_of(file, columns=COLUMNS) == TWO
    frame.drop(columns="id").rename(columns={"country": "Nationality"}).to_parquet(file)
    assert rows_of(file) == TWO


def test_a_bad_row_of_parquet_is_refused_with_its_number(file: Path) -> None:
    frame = pd.DataFrame({"name": ["Rossi", None, "a\nb", "Weber"], "country": ["x", "y", "z", ""]})
    frame.to_parquet(file, row_group_size=2)
    reasons = ["empty name", "control character in name", "empty country"]
    assert by_ingest(file)[1] == [*enumerate(reasons, start=2)]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": ["x"], "b": ["y"]}, "columns are a,b; set ingest.columns"),
        ({"name": [1], "country": ["y"]}, "column 'name' is int64, not text"),
    ],
)
def test_parquet_that_does_not_fit_is_refused_with_the_key(
    columns: dict[str, list], said: str, file: Path
) -> None:
    pd.DataFrame(columns).to_parquet(file)
    with pytest.raises(UserError, match=said):
        rows_of(file)


@pytest.mark.parametrize("country", [UNSURE, "Unsure", f"A{SET_SEPARATOR}B", "=A", "A\u202e"])
def test_countries_that_break_the_outputs_are_refused(country: str, file: Path) -> None:
    file.write_text(f"Rossi,Italy\nMeier,{country}\n")
    assert by_ingest(file)[1] == [(2, NOT_A_LABEL)]
    assert not is_label(country)


def test_a_first_row_whose_country_stands_nowhere_else_may_be_a_header() -> None:
    first_rows = [("Land", f"{shard}.csv, line 1: Nachname,Land") for shard in "ab"]
    with pytest.raises(UserError, match=r"^a\.csv, line 1: Nachname,Land may be a header"):
        check_countries(Counter(Land=2, Italy=1, Germany=1), first_rows)
    check_countries(Counter(Land=3, Italy=1, Germany=1), first_rows)
    check_countries(
        Counter(Land=2, Italy=1), [*first_rows, ("Italy", "c.csv, line 1: Rossi,Italy")]
    )
