"""`onoma shares`: files in, shares with intervals out, and a note where they cannot be trusted."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.commands import cli, shares
from stages.commands.shares import Population, read_populations, show, summary
from stages.corpus.tables import Table
from stages.core.errors import UserError
from stages.serving.bundle import load
from tests.commands.conftest import COUNTRIES

NAMES = ["Abe", "Müller", "Nguyen", "Bob", "Cab", "Dad", "Bea"] * 40
UNSURE = ["तिवारी", "Merkel, Angela", ""]


@pytest.fixture
def estimate(onnx_folder: Path):
    def run(*arguments: object) -> int:
        return cli.main(["shares", "--model", str(onnx_folder), *map(str, arguments)])

    return run


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    cities = ["A", "B"] * 140 + ["A"] * 3
    frame = pd.DataFrame({"surname": [*NAMES, *UNSURE], "city": cities})
    frame.to_csv(path, index=False, quoting=1)
    return path


def prior(folder: Path, *values: float) -> Path:
    path = folder / "prior.csv"
    rows = [f"{country},{share}" for country, share in zip(COUNTRIES, values, strict=False)]
    path.write_text("\n".join(["country,share", *rows]) + "\n")
    return path


def test_json_has_the_names_the_unsure_and_the_shares(
    estimate, people: Path, tmp_path: Path, onnx_folder: Path, capsys
) -> None:
    out, table = tmp_path / "out.json", tmp_path / "out.csv"
    assert estimate(people, "--column", "surname", "--json", out, "--csv", table) == 0
    found = json.loads(out.read_text())
    assert found["names"] == 283
    assert found["unsure"]["script"] == found["unsure"]["not a surname"] == 1
    assert found["unsure"]["unusable"] == 1
    assert found["model"] == load(onnx_folder).model_hash
    assert found["population"] == "made-up names"
    assert {row["country"] for row in found["shares"]} == set(COUNTRIES)
    assert sum(row["share"] for row in found["shares"]) == pytest.approx(1, abs=1e-4)
    assert sum(row["plain"] for row in found["shares"]) == pytest.approx(1, abs=1e-4)
    assert all(row["lower"] <= row["share"] <= row["upper"] for row in found["shares"])
    assert pd.read_csv(table)["country"].tolist() == [row["country"] for row in found["shares"]]
    printed = capsys.readouterr().out
    assert "283 names" in printed and "█" in printed and "made-up names" in printed


def test_rows_that_cannot_be_read_are_reported_and_left_out(
    estimate, people: Path, tmp_path: Path, capsys
) -> None:
    content = people.read_bytes()
    people.write_bytes(content.replace(b'"surname","city"\n', b'"surname","city"\n"Abe,A\nBob\n'))
    out = tmp_path / "out.json"
    assert estimate(people, "--column", "surname", "--json", out) == 1
    assert json.loads(out.read_text())["names"] == 283
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "2 rows cannot be read" in err
    arguments = ["--column", "surname", "--by", "city", "--json", out, "--keep-going"]
    assert estimate(people, *arguments) == 0
    assert [part["names"] for part in json.loads(out.read_text())["groups"]] == [143, 140]


def test_groups_that_act_on_a_terminal_are_shown_as_escapes(
    estimate, tmp_path: Path, capsys
) -> None:
    (tmp_path / "in.csv").write_text("name,city\n" + "Abe,\x1b]0;x\x07\u202e\n" * 3, "utf-8")
    estimate(tmp_path / "in.csv", "--by", "city", "--json", tmp_path / "out.json")
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable() and r"\x1b]0;x\x07\u202e" in out
    (group,) = json.loads((tmp_path / "out.json").read_text())["groups"]
    assert group["group"] == "\x1b]0;x\x07\u202e"


def test_plain_is_the_mean_of_the_probabilities(
    estimate, tmp_path: Path, onnx_folder: Path
) -> None:
    model = load(onnx_folder)
    usable = [name for name in set(NAMES) if not model.predict([name])[0].reason]
    pd.DataFrame({"name": usable}).to_csv(tmp_path / "in.csv", index=False)
    estimate(tmp_path / "in.csv", "--json", tmp_path / "out.json")
    wanted = dict(zip(COUNTRIES, model.probabilities(usable).mean(axis=0), strict=True))
    for row in json.loads((tmp_path / "out.json").read_text())["shares"]:
        assert row["plain"] == pytest.approx(wanted[row["country"]], abs=1e-5)


def test_groups_are_estimated_one_by_one(estimate, people: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "out.json", tmp_path / "out.csv"
    arguments = ["--column", "surname", "--by", "city", "--json", out, "--csv", table]
    assert estimate(people, *arguments) == 0
    found = json.loads(out.read_text())
    assert [(part["group"], part["names"]) for part in found["groups"]] == [("A", 143), ("B", 140)]
    assert pd.read_csv(table)["city"].value_counts().to_dict() == {"A": 4, "B": 4}


def test_a_prior_replaces_the_estimate(estimate, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    certain = prior(tmp_path, 0.0, 1.0, 0.0, 0.0)
    assert estimate(people, "--column", "surname", "--prior", certain, "--json", out) == 0
    first = json.loads(out.read_text())["shares"][0]
    assert (first["country"], first["share"]) == (COUNTRIES[1], pytest.approx(1))


def test_shares_of_a_prior_that_are_rounded_are_made_to_sum_to_one(tmp_path: Path) -> None:
    for rounded in ((0.248, 0.25, 0.25, 0.248), (0.252, 0.25, 0.25, 0.252)):
        found = shares.read_prior(prior(tmp_path, *rounded), tuple(COUNTRIES))
        assert found == pytest.approx(np.array(rounded) / sum(rounded))
    with pytest.raises(UserError, match="sum to 1"):
        shares.read_prior(prior(tmp_path, 0.25, 0.25, 0.25, 0.256), tuple(COUNTRIES))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0.5, 0.5), "has no share of 'Chad'"),
        ((0.5, 0.5, 0.5, 0.5), "sum to 1"),
        ((1.5, -0.5, 0, 0), "0 or more"),
    ],
)
def test_an_impossible_prior_is_one_line(
    estimate, people: Path, tmp_path: Path, capsys, values: tuple[float, ...], says: str
) -> None:
    path = prior(tmp_path, *values)
    assert estimate(people, "--column", "surname", "--prior", path) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and says in err


@pytest.mark.parametrize(
    ("content", "says"),
    [("name\n", "has no names"), ("", "is empty"), ("other\nx\n", "no column")],
)
def test_a_file_without_names_is_one_line(
    estimate, tmp_path: Path, capsys, content: str, says: str
) -> None:
    (tmp_path / "in.csv").write_text(content)
    assert estimate(tmp_path / "in.csv") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and says in err


def test_few_or_unsure_names_are_noted(estimate, tmp_path: Path, capsys) -> None:
    (tmp_path / "one.csv").write_text("name\nAbe\n")
    assert estimate(tmp_path / "one.csv") == 0
    assert "note: few names" in capsys.readouterr().out
    (tmp_path / "unsure.csv").write_text("name\nतिवारी\n123\n")
    assert estimate(tmp_path / "unsure.csv", "--json", tmp_path / "out.json") == 0
    assert "no name can be used" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["shares"] == []


def test_too_many_groups_are_one_line(estimate, people: Path, tmp_path: Path, capsys) -> None:
    pd.DataFrame({"name": "Abe", "group": range(1001)}).to_csv(tmp_path / "in.csv", index=False)
    assert estimate(tmp_path / "in.csv", "--by", "group") == 1
    assert "column 'group' has over 1,000 values" in capsys.readouterr().err
    assert estimate(people, "--column", "surname", "--by", "town") == 1
    err = capsys.readouterr().err
    assert "has no column 'town'; use --by, one of: surname, city" in err


def model(labels: list[int], rows: list[list[float]]) -> Any:
    """A model of which only the held-out rows count; the prior is even."""
    countries = tuple("ABCDE")
    return SimpleNamespace(
        countries=countries,
        held_out=SimpleNamespace(
            prior=np.full(5, 0.2), labels=np.array(labels), probabilities=np.array(rows)
        ),
    )


def people_of(*countries: int, unsure: int = 0) -> Population:
    """A population of names that belong to these countries for sure."""
    population = Population(5, seed=1)
    table = np.eye(5, dtype=np.float32)[[*countries, *[0] * unsure]]
    reasons = np.repeat([0, 1], [len(countries), unsure]).astype(np.uint8)
    population.add(table, reasons)
    return population


@pytest.mark.filterwarnings("error")
def test_notes_say_which_shares_cannot_be_trusted() -> None:
    rows = [[0.9, 0.1, 0, 0, 0], [0.3, 0.4, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6, 0]]
    found = summary(model([0, 1, 2], rows), people_of(*[0, 1, 2, 3] * 25, 4), np.full(5, 0.2))
    assert found["notes"] == [
        "B is hard to tell from A",  # most of its own rows' probability is elsewhere
        "C is hard to tell from D",
        "D: no held-out rows, so nothing checks it",  # E has too few names for a note
    ]
    assert (found["method"], found["effective_names"]) == ("prior", 101)
    assert [row["country"] for row in found["shares"][-1:]] == ["E"]
    for unsure, noted in ((20, []), (40, ["33% of the names are unsure"])):  # a fifth is not many
        population = people_of(*[0] * 80, unsure=unsure)
        notes = summary(model([0], [[0.2] * 5]), population, np.full(5, 0.2))["notes"]
        assert [note.split(":")[0] for note in notes if "unsure" in note] == noted


def test_names_that_fit_every_country_alike_tell_nothing() -> None:
    population = Population(5, seed=1)
    population.add(np.full((200, 5), 0.2, dtype=np.float32), np.zeros(200, dtype=np.uint8))
    found = summary(model([0], [[1.0] * 5]), population, np.full(5, 0.2))
    assert found["effective_names"] == 0
    assert found["notes"][0] == "few names: they tell as much as 0 of known country"


def test_with_a_prior_the_interval_is_that_of_the_mean() -> None:
    found = people_of(*[0, 1, 1, 1] * 25).estimate(model([0], [[1.0] * 5]), np.full(5, 0.2))
    half = 1.96 * np.sqrt(0.25 * 0.75 / 100)
    assert found.lower == pytest.approx([0.25 - half, 0.75 - half, 0, 0, 0])
    assert found.upper == pytest.approx([0.25 + half, 0.75 + half, 0, 0, 0])


def test_of_a_population_without_usable_names_nothing_is_known() -> None:
    found = people_of(unsure=3).estimate(model([0], [[1.0] * 5]), None)
    assert (found.lower.tolist(), found.upper.tolist()) == ([0.0] * 5, [1.0] * 5)


def test_the_table_shows_25_countries_with_bars_of_40_at_most(capsys) -> None:
    rows = [
        {"country": f"C{n}", "share": s, "lower": s / 2, "upper": 2 * s, "plain": 0.125}
        for n, s in enumerate([0.4, 0.2, *[0.01] * 30])
    ]
    result = {"names": 1234, "unsure": {}, "effective_names": 1000, "shares": rows, "notes": ["n"]}
    show(result, "title")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "title: 1,234 names, unsure: none; they tell as much as 1,000 names of known country"
    )
    assert lines[1].split() == ["country", "share", "95", "%", "interval", "plain"]
    assert lines[2] == f"C0    40.0 %   20.0 to  80.0   12.5 %  {40 * '█'}"
    assert lines[3] == f"C1    20.0 %   10.0 to  40.0   12.5 %  {20 * '█'}"
    assert (len(lines), lines[-1]) == (2 + 25 + 1, "note: n")


def test_the_sample_is_bounded_and_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "SAMPLE_CELLS", 2000)
    population = Population(2, seed=1)
    for start in range(0, 100_000, 10_000):
        column = np.arange(start, start + 10_000, dtype=np.float32) / 100_000
        table = np.stack([column, 1 - column], axis=1)
        population.add(table, np.zeros(len(table), dtype=np.uint8))
        assert len(population.sample) <= 1000
    assert population.total[0] / population.used == pytest.approx(0.5, abs=1e-4)
    assert population.sample[:, 0].mean() == pytest.approx(0.5, abs=0.05)


def test_predict_takes_the_estimated_shares_into_account(
    people: Path, tmp_path: Path, onnx_folder: Path
) -> None:
    program = ["predict", "--model", str(onnx_folder), "--input", str(people), "--column"]
    for name, flags in (("plain", []), ("reweighted", ["--reweight"])):
        cli.main([*program, "surname", "--output", str(tmp_path / f"{name}.parquet"), *flags])
    plain, new = (pd.read_parquet(tmp_path / f"{n}.parquet") for n in ("plain", "reweighted"))
    model = load(onnx_folder)
    (population,) = read_populations(model, Table(people), "surname").values()
    estimated = population.estimate(model, None)
    moved = (plain["probability"] - new["probability"]).abs().max()
    assert (moved > 1e-3) == (np.abs(estimated.shares - 0.25).max() > 1e-3)
    assert plain["set"].equals(new["set"])
