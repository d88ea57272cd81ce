"""Files as people bring them: headers, separators, encodings, Parquet."""

import gzip
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import UserError
from stages.core.params import IngestParams, Params
from stages.corpus.reading import read
from stages.corpus.rows import Format, remedy
from tests.conftest import ROOT, set_params

DEFAULTS = Params.load(ROOT / "params.yaml").ingest
TWO = [("Rossi", "Italy"), ("Müller", "Germany")]
FRAME = pd.DataFrame(TWO, columns=["name", "country"])
COLUMNS = {"name": "name", "country": "country"}


def rows_of(path: Path, **changes: object) -> list[tuple[str, str]]:
    """Read a file of which no row is refused."""
    params = IngestParams.model_validate(DEFAULTS.model_dump() | changes)
    found = []
    for rows, rejects, _ in read(str(path), params):
        assert rejects.empty
        found.extend(rows.itertuples(index=False, name=None))
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "names.csv"


@pytest.mark.parametrize(
    "header",
    [
        "name,country",
        "Last Name,Country",
        "Surname,Country of origin",
        "LAST_NAME,NATIONALITY",
        '"Family-name" , "Birth country"',
        "\ufefflastName,country",
    ],
)
def test_a_header_in_any_usual_spelling_is_one(header: str, file: Path) -> None:
    file.write_text(f"{header}\nRossi,Italy\nMüller,Germany\n", encoding="utf-8")
    assert rows_of(file) == TWO


def test_a_header_says_which_column_is_which(file: Path) -> None:
    file.write_text("Country,Surname\nItaly,Rossi\nGermany,Müller\n", encoding="utf-8")
    assert rows_of(file) == TWO


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Last Name,Land\n", r"line 1: Last Name,Land may be a header; set ingest.header"),
        ("\n\nFamilienname,Country\n", r"line 3: Familienname,Country may be a header; set ingest"),
        (",name,country\n0,Rossi,Italy\n", r"the columns are ,name,country; set ingest.columns"),
        ("Surname;Country\nRossi;Italy\n", r"fields are separated by ';'; set ingest.separator"),
        ("Surname\tCountry\nRossi\tItaly\n", r"separated by '\\t'; set ingest.separator"),
    ],
)
def test_what_reads_like_a_header_but_is_not_clear_is_refused_with_the_key(
    content: str, said: str, file: Path
) -> None:
    for data in (content.encode(), gzip.compress(content.encode())):
        file.write_bytes(data)
        with pytest.raises(UserError, match=said):
            rows_of(file)


def test_header_no_reads_what_looks_like_one(file: Path) -> None:
    file.write_text("Name,Italy\nRossi,Country\n")
    assert rows_of(file, header="no") == [("Name", "Italy"), ("Rossi", "Country")]


def test_a_pandas_export_with_its_index_is_read_by_columns(file: Path) -> None:
    FRAME.to_csv(file)
    assert rows_of(file, columns=COLUMNS) == TWO


def test_columns_are_found_by_name_whatever_stands_between_them(file: Path) -> None:
    frame = pd.DataFrame({"note": ['a "b", c', "d;e"], "land": ["Italy", "Germany"], "x": 1})
    frame["nom"] = ["Rossi", "Müller"]
    frame.to_csv(file, index=False)
    assert rows_of(file, columns={"name": "nom", "country": "land"}) == TWO
    for wanted in ({"name": "nom", "country": "pays"}, {"name": "nom", "country": "nom"}):
        with pytest.raises(UserError, match=r"columns are note,land,x,nom; set ingest.columns"):
            rows_of(file, columns=wanted)


@pytest.mark.parametrize("separator", [";", "\t", "|", " ", "^", "-", "]"])
def test_any_separator(separator: str, file: Path) -> None:
    FRAME.to_csv(file, sep=separator, index=False)
    assert rows_of(file, separator=separator) == TWO


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp1250", "gb18030", "UTF8"])
def test_any_encoding_that_extends_ascii(encoding: str, file: Path) -> None:
    file.write_text("Rossi,Italy\nMüller,Germany\n", encoding=encoding)
    assert rows_of(file, encoding=encoding) == TWO


def test_bytes_that_an_encoding_does_not_have_are_refused(file: Path) -> None:
    file.write_bytes(b"R\x81ssi,Italy\nWeber,Germany\n")
    params = DEFAULTS.model_copy(update={"encoding": "cp1252"})
    (chunk,) = read(str(file), params)
    assert chunk.rejects["reason"].tolist() == ["not CP1252"] and len(chunk.rows) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoding", "utf-16"),
        ("encoding", "nonsense"),
        ("separator", '";;"'),
        ("separator", "'\"'"),
        ("separator", r'"\\x01"'),
    ],
)
def test_params_refuse_what_cannot_be_read(key: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    set_params(tmp_path, **{f"ingest__{key}": value})
    with pytest.raises(UserError, match=f"ingest.{key}: "):
        Params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_parquet_is_read_in_whatever_way_its_text_is_stored(kind: pa.DataType, file: Path) -> None:
    columns = {column: pa.array(FRAME[column], pa.string()).cast(kind) for column in FRAME}
    pq.write_table(pa.table({"id": [1, 2]} | columns), file)  # by its content, not by its suffix
    assert rows_of(file, columns=COLUMNS) == TWO
    pq.write_table(pa.table({"Nationality": columns["country"], "surname": columns["name"]}), file)
    assert rows_of(file) == TWO


def test_a_bad_row_of_parquet_is_refused_with_its_number(file: Path) -> None:
    frame = pd.DataFrame({"name": ["Rossi", None, "a\nb", "Weber"], "country": ["x", "y", "z", ""]})
    frame.to_parquet(file, row_group_size=2)
    rejects = pd.concat(chunk.rejects for chunk in read(str(file), DEFAULTS))
    assert rejects[["line", "reason"]].to_numpy().tolist() == [
        [2, "empty name"],
        [3, "control character in name"],
        [4, "empty country"],
    ]


def test_parquet_that_does_not_fit_is_refused_with_the_key(file: Path) -> None:
    pd.DataFrame({"a": ["x"], "b": ["y"]}).to_parquet(file)
    with pytest.raises(UserError, match=r"columns are a,b; set ingest.columns"):
        rows_of(file)
    pd.DataFrame({"name": [1], "country": ["y"]}).to_parquet(file)
    with pytest.raises(UserError, match=r"name: is int64, not text; set ingest.columns"):
        rows_of(file)
    file.write_bytes(b"PAR1" + b"\0" * 100)
    with pytest.raises(UserError, match=r"names\.csv: ") as caught:
        rows_of(file)
    assert "\n" not in str(caught.value)


def test_a_workbook_is_named(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(UserError, match="is an Excel workbook or a zip; save it as CSV"):
        rows_of(file)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b"Rossi;Italy", "set ingest.separator"),
        (b"0,Rossi,Italy", "set ingest.columns"),
        ("Müller,Germany".encode("latin-1"), "set ingest.encoding to cp1252"),
    ],
)
def test_a_refused_row_leads_to_the_key_that_reads_the_file(
    line: bytes, key: str, file: Path
) -> None:
    file.write_bytes(line + b"\n")
    (chunk,) = read(str(file), DEFAULTS)
    assert key in remedy(chunk.rejects["reason"].item(), Format(keys="ingest."))
