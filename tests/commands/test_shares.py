"""`onoma shares`: files in, shares with intervals out, and a note where they cannot be trusted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.commands import cli, shares
from stages.commands.shares import show
from stages.core.errors import UserError
from stages.serving.bundle import load
from stages.serving.held_out import reweight
from tests.serving.made import COUNTRIES

NAMES = ["Abe", "Müller", "Nguyen", "Bob", "Cab", "Dad", "Bea"] * 40
UNSURE = ["तिवारी", "Merkel, Angela", ""]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    cities = ["A", "B"] * 140 + ["A"] * 3
    frame = pd.DataFrame({"name": [*NAMES, *UNSURE], "city": cities})
    frame.to_csv(path, index=False, quoting=1)
    return path


@pytest.fixture
def estimate(onnx_folder: Path, tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `onoma shares` on people.csv; return its exit status and the content of out.json."""
    monkeypatch.chdir(tmp_path)

    def run(options: str = "", file: str = "people.csv") -> tuple[int, Any]:
        words = ["shares", "--model", str(onnx_folder), file, "--json", "out.json"]
        status = cli.main([*words, *options.split()])
        return status, json.loads(Path("out.json").read_text()) if status == 0 else None

    return run


def prior(folder: Path, *values: object) -> Path:
    path = folder / "prior.csv"
    rows = [f"{country},{share}" for country, share in zip(COUNTRIES, values, strict=False)]
    path.write_text("\n".join(["country,share", *rows]) + "\n")
    return path


def test_the_shares_are_those_of_the_python_api_in_json_csv_and_a_table(
    estimate, onnx_folder: Path, capsys
) -> None:
    _, found = estimate("--csv out.csv")
    wanted = load(onnx_folder).shares([*NAMES, *UNSURE])
    assert found == wanted | {"shares": found["shares"]}
    assert found["names"] == 283
    assert {"script": 1, "not a surname": 1, "unusable": 1}.items() <= found["unsure"].items()
    table = pd.DataFrame(found["shares"])
    expected = pd.DataFrame(wanted["shares"])
    pd.testing.assert_frame_equal(table, expected, rtol=0, atol=1e-5)
    assert pd.read_csv("out.csv").to_dict("records") == found["shares"]
    printed = capsys.readouterr().out
    assert "283 names" in printed and "█" in printed and "made-up names" in printed


def test_rows_that_cannot_be_read_are_reported_and_left_out(estimate, people: Path, capsys) -> None:
    header = b'"name","city"\n'
    people.write_bytes(people.read_bytes().replace(header, header + b'"Abe,A\nBob\n'))
    assert estimate()[0] == 1
    assert json.loads(Path("out.json").read_text())["names"] == 283
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "2 rows cannot be read" in err
    assert estimate("--keep-going")[0] == 0


def test_groups_are_estimated_one_by_one_and_shown_as_escapes(estimate, capsys) -> None:
    _, found = estimate("--by city --csv out.csv")
    assert [(part["group"], part["names"]) for part in found["groups"]] == [("A", 143), ("B", 140)]
    assert pd.read_csv("out.csv")["city"].value_counts().to_dict() == {"A": 4, "B": 4}
    capsys.readouterr()
    Path("in.csv").write_text("name,city\n" + "Abe,\x1b]0;x\x07\u202e\n" * 3, "utf-8")
    _, found = estimate("--by city", "in.csv")
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable() and r"\x1b]0;x\x07\u202e" in out
    assert [part["group"] for part in found["groups"]] == ["\x1b]0;x\x07\u202e"]


def test_a_prior_replaces_the_estimate(estimate, tmp_path: Path) -> None:
    prior(tmp_path, 0.0, 1.0, 0.0, 0.004)  # shares that are rounded are made to sum to one
    first, *_, last = estimate("--prior prior.csv")[1]["shares"]
    assert (first["country"], last["share"]) == (COUNTRIES[1], 0)
    found = shares.read_prior(tmp_path / "prior.csv", COUNTRIES)
    assert found == pytest.approx(np.array([0, 1, 0, 0.004]) / 1.004)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0.5, 0.5), "has no share of 'Chad'"),
        ((0.25, 0.25, 0.25, "0.25\nEden,0"), "has an unknown country 'Eden'"),
        ((0.25, 0.25, 0.25, "0.25\nChad,0.25"), "one for each country"),
        ((0.25, 0.25, 0.25, 0.256), "sum to 1"),
        ((1.5, -0.5, 0, 0), "0 or more"),
        ((0.5, "half"), "each line must be country,share, the share a number"),
    ],
)
def test_an_impossible_prior_is_refused(
    tmp_path: Path, values: tuple[object, ...], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        shares.read_prior(prior(tmp_path, *values), COUNTRIES)


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("name\n", "", "in.csv: has no names"),
        ("name,n\n" + "".join(f"Abe,{n}\n" for n in range(1001)), "--by n", "'n' has over 1,000"),
        ("name,n\nAbe,1\n", "--by town", "no column 'town'; use --by, one of: name, n"),
    ],
)
def test_a_table_without_names_or_with_too_many_groups_is_one_line(
    estimate, content: str, options: str, says: str, capsys
) -> None:
    Path("in.csv").write_text(content)
    assert estimate(options, "in.csv") == (1, None)
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_the_table_shows_25_countries_with_bars_of_40_at_most(capsys) -> None:
    rows = [
        {"country": f"C{n}", "share": s, "lower": s / 2, "upper": 2 * s, "plain": 0.125}
        for n, s in enumerate([0.4, 0.2, *[0.01] * 30])
    ]
    result = {"names": 1234, "unsure": {"script": 2}, "effective_names": 9, "notes": ["n"]}
    show(result | {"shares": rows}, "title")
    lines = capsys.readouterr().out.splitlines()
    counts = "1,234 names, unsure: script 2; they tell as much as 9 names of known country"
    assert lines[0] == f"title: {counts}"
    assert lines[1].split() == ["country", "share", "95", "%", "interval", "plain"]
    assert lines[2] == f"C0        40.0 %   20.0 to  80.0   12.5 %  {40 * '█'}"
    assert lines[3] == f"C1        20.0 %   10.0 to  40.0   12.5 %  {20 * '█'}"
    assert lines[2 + 25 :] == ["and 7 more countries with 7.0 % together", "note: n"]
    show(result | {"shares": []}, "title")
    assert capsys.readouterr().out.splitlines() == [lines[0], "note: n"]


def test_predict_takes_the_estimated_shares_into_account(
    people: Path, tmp_path: Path, onnx_folder: Path
) -> None:
    program = ["predict", "--model", str(onnx_folder), "--input", str(people), "--output"]
    for file, flags in (("plain.parquet", []), ("new.parquet", ["--reweight"])):
        cli.main([*program, str(tmp_path / file), *flags])
    plain, new = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("plain", "new"))
    assert plain["set"].equals(new["set"])
    model = load(onnx_folder)
    found = {row["country"]: row["share"] for row in model.shares([*NAMES, *UNSURE])["shares"]}
    wanted = reweight(
        model.predict_proba(NAMES), model.held_out.prior, np.array([found[c] for c in COUNTRIES])
    ).max(axis=1)
    plain, new = (table["probability"].to_numpy()[: len(NAMES)] for table in (plain, new))
    assert new == pytest.approx(wanted, abs=1e-4)
    assert np.abs(plain - wanted).max() > 0.001
