"""Rows and files that are not what they seem are refused or said, never taken without a word."""

import os
import signal
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import botocore.exceptions
import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from stages.core.errors import UserError
from stages.core.files import write_text
from stages.core.text import SET_SEPARATOR, UNSURE, is_label
from stages.corpus import full_names
from stages.corpus.normalize import NOT_A_LABEL
from stages.corpus.reading import Countries, read
from stages.corpus.rows import Format
from stages.corpus.sources import files_of
from stages.corpus.tables import Table
from stages.corpus.tasks import Tasks
from stages.corpus.writing import create
from tests.corpus.test_tables import INGEST, by_ingest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "names.csv"


@pytest.mark.parametrize(
    "text", ["1234", "M&uuml;ller", "Schmidt, Hans", "=Cmd()", "@X", "Dr. Weiß"]
)
def test_training_refuses_what_answers_refuse(text: str, file: Path) -> None:
    file.write_text(f'Rossi,Italy\n"{text}",Italy\n', "utf-8")
    assert by_ingest(file) == ([("Rossi", "Italy")], [(2, full_names.NOT_A_SURNAME)])


def test_a_corpus_of_full_names_has_them_as_they_are_answered(file: Path) -> None:
    file.write_text('"Schmidt, Hans",Germany\nDr. ROSSI Mario,Italy\n1234,Italy\n', "utf-8")
    (chunk,) = read(str(file), INGEST, full=True)
    assert chunk.rows["name"].tolist() == ["Hans Schmidt", "Mario Rossi"]
    assert chunk.rejects["reason"].tolist() == [full_names.NOT_A_NAME]


@pytest.mark.parametrize("country", [UNSURE, "Unsure", f"A{SET_SEPARATOR}B", "=A"])
def test_countries_that_break_the_outputs_are_refused(country: str, file: Path) -> None:
    file.write_text(f"Rossi,Italy\nMeier,{country}\n")
    assert by_ingest(file)[1] == [(2, NOT_A_LABEL)]
    assert not is_label(country)


def countries_of(file: Path, content: str, **changes: object) -> Countries:
    file.write_text(content, "utf-8")
    countries = Countries()
    for chunk in read(str(file.parent), INGEST.model_copy(update=changes)):
        countries.add(chunk)
    return countries


def test_a_first_row_whose_country_stands_nowhere_else_may_be_a_header(file: Path) -> None:
    content = "Nachname,Land\nRossi,Italy\nMeier,Germany\n"
    (file.parent / "more.csv").write_text("Nachname,Land\nRusso,Italy\n")  # a shard has it too
    with pytest.raises(
        UserError,
        match=r"csv, line 1: Nachname,Land may be a header: .* ingest\.header to yes or no",
    ):
        countries_of(file, content).check()
    for header in ("yes", "no"):
        countries_of(file, content, header=header).check()
    countries_of(file, content + "Muster,Land\n").check()
    (file.parent / "more.csv").unlink()
    countries_of(file, "Surname,Country\nRossi,Italy\nMeier,Germany\n").check()


@pytest.mark.parametrize(
    ("countries", "said"),
    [
        (
            ["german", "GERMAN", "Germany"],
            r"'GERMAN' \(2 rows\) and 'german' \(2 rows\) differ in case",
        ),
        (
            ["Costa Rica", "CostaRica", "x"],
            r"'Costa Rica' .* and 'CostaRica' .* or blanks only; spell",
        ),
        (["Italy", "Italy"], "all 4 rows are of one country, 'Italy'"),
    ],
)
def test_countries_that_nobody_meant_are_refused(
    countries: list[str], said: str, file: Path
) -> None:
    with pytest.raises(UserError, match=said):
        countries_of(file, "".join(f"Rossi,{country}\n" for country in countries * 2)).check()
    countries_of(file, "Rossi,german\nMeier,Germany\nx,Germany\ny,german\n").check()


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("separator", [";", "|", "\t"])
def test_excels_line_that_says_the_separator_is_heeded(
    separator: str, quote: str, file: Path
) -> None:
    file.write_bytes(
        f"\ufeff{quote}sep={separator}{quote}\r\nname{separator}country\r\n".encode()
        + f"Rossi{separator}Italy\r\n".encode()
    )
    assert by_ingest(file) == ([("Rossi", "Italy")], [])
    assert [batch.to_pylist() for batch, _ in Table(file).batches()] == [
        [{"name": "Rossi", "country": "Italy"}]
    ]


def test_a_file_without_header_loses_no_row(file: Path) -> None:
    file.write_text("\nMüller,Germany\nRossi,Italy\n", "utf-8")
    with pytest.raises(UserError, match=r"one of: Müller, Germany \(or --no-header, if"):
        Table(file).check_text("name")
    table = Table(file, Format(header=False))
    table.check_text("1")
    (rows,) = [batch.to_pylist() for batch, _ in table.batches()]
    assert rows == [{"1": "Müller", "2": "Germany"}, {"1": "Rossi", "2": "Italy"}]
    with pytest.raises(UserError, match=r"no column 'name'; use --column, one of: 1, 2$"):
        table.check_text("name")


@pytest.mark.parametrize("source", ["", "/*.csv", "/**/*.csv"])
def test_a_folder_that_cannot_be_read_is_said_to_be_so(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.csv").touch()
    scandir = os.scandir

    def scan(path: str) -> object:  # root can read all: not by chmod
        if source != "/*.csv" and not path.endswith("deep"):
            return scandir(path)
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(UserError, match=rf"{tmp_path}.*: Permission denied"):
        files_of(f"{tmp_path}{source}", "choose another")


def test_storage_without_credentials_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Storage(MemoryFileSystem):
        protocol = "odd"

        def info(self, path: str, **kwargs: object) -> object:
            raise botocore.exceptions.NoCredentialsError

        isfile = ls = _open = info

    fsspec.register_implementation("odd", Storage, clobber=True)
    for look in (lambda: files_of("odd://bucket/a.csv", ""), lambda: Table("odd://bucket/a.csv")):
        with pytest.raises(
            UserError,
            match=r"^odd://bucket/a\.csv: cannot be reached: Unable to locate credentials$",
        ):
            look()


# What is written.


def write(target: Path, value: int = 1) -> None:
    with create(target, pa.schema([("a", pa.int8())])) as append:
        append(pa.record_batch({"a": pa.array([value], pa.int8())}))


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.csv").symlink_to("there/real.csv")
    for value in (1, 2):  # to a file that is not there, and to one that is
        write(tmp_path / "link.csv", value)
        assert (tmp_path / "link.csv").is_symlink()
        assert (tmp_path / "there/real.csv").read_text() == f'"a"\n{value}\n'
    assert len([*tmp_path.rglob("*")]) == 3


def test_a_dash_is_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("-"))
    assert capsysbinary.readouterr().out == b'"a"\n1\n'
    assert not [*tmp_path.iterdir()]


def test_errors_name_the_target(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    exists = f"{tmp_path / 'file'}: File exists"
    for name, reason in (("folder.csv", "Is a directory"), ("file/out.csv", exists)):
        with pytest.raises(UserError) as caught:
            write(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: cannot be written: {reason}"
    with pytest.raises(IsADirectoryError, match=r"Is a directory: '.*/folder\.csv'$"):
        write_text(tmp_path / "folder.csv", "x")


# Signals.


def test_a_signal_waits_until_a_task_is_started_and_ends_the_wait_for_its_result() -> None:
    """An exception within loky's code may leave a lock, for which its threads wait for ever."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        started, future = [], Future[int]()

        def submit(function: object, item: int) -> Future[int]:
            signal.raise_signal(signal.SIGTERM)
            started.append(item)
            return future

        with pytest.raises(KeyboardInterrupt):
            list(Tasks(submit, 2).map(int, range(9), few=0))
        assert started == [0] and future.cancelled()

        def result(timeout: float) -> int:
            signal.raise_signal(signal.SIGTERM)
            raise TimeoutError

        waiting = SimpleNamespace(result=result, done=lambda: False, cancel=lambda: None)
        with pytest.raises(KeyboardInterrupt):
            list(Tasks(lambda function, item: waiting, 2).map(int, range(9), few=0))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_result_that_comes_as_the_wait_for_signals_ends_is_not_lost() -> None:
    answers = iter([TimeoutError(), 7])

    def result(timeout: float) -> int:
        answer = next(answers)
        if isinstance(answer, TimeoutError):
            future.done = lambda: True
            raise answer
        return answer

    future = SimpleNamespace(result=result, done=lambda: False)
    assert list(Tasks(lambda function, item: future, 2).map(int, [1], few=0)) == [7]
