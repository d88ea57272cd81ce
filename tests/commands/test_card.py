"""The model card says what the metrics say, and the committed one is up to date."""

import json
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.commands import cli
from tests.conftest import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed params and metrics."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def card(project: Path) -> str:
    assert cli.main(["card"]) == 0
    return (project / "docs/model-card.md").read_text(encoding="utf-8")


def test_the_committed_card_is_what_the_committed_metrics_give(project: Path) -> None:
    committed = (ROOT / "docs/model-card.md").read_text(encoding="utf-8")
    assert card(project) == committed, "run: onoma card"


def test_the_card_says_what_the_metrics_say_and_hubs_read_it(project: Path) -> None:
    scores, baseline, countries = (
        json.loads((project / f"metrics/{part}.json").read_text(encoding="utf-8"))
        for part in ("evaluate", "baseline", "countries")
    )
    text = card(project)
    assert f"| accuracy | {scores['accuracy']:.4f} | {baseline['accuracy']:.4f} |" in text
    weakest = min(countries, key=lambda country: countries[country]["f1"])
    assert f"weakest on {weakest} (F1 {countries[weakest]['f1']:.2f})" in text
    by_support = sorted(countries, key=lambda country: -countries[country]["support"])
    first, second = (text.index(f"| {country} | ") for country in by_support[:2])
    assert first < second
    assert "not a nationality" in text
    assert "A classifier of surnames and full names into" in text
    figures = scores["people_accuracy"], baseline["people_accuracy"], scores["people_top3"]
    assert "| people | surname | {:.3f} | {:.3f} | {:.3f} |".format(*figures) in text
    share = f"{100 * scores['people_group_accuracy']:.1f} % by surname get a country of the right"
    assert f"Of the people, {share} group." in text and "\n- Baltic: Latvian, Lithuanian\n" in text

    _, front, _ = text.split("---\n", 2)
    metadata = YAML(typ="safe").load(front)
    assert metadata["pipeline_tag"] == "text-classification"
    (result,) = metadata["model-index"][0]["results"]
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert {key: scores[key] for key in values} == values


def test_what_is_not_known_is_blank_and_what_a_stranger_calls_a_country_is_inert(
    project: Path,
) -> None:
    evil = "[Evil](http://evil.example) @all <b>"
    country = dict.fromkeys(("precision", "recall", "f1", "confidence"), 0.9) | {"support": 400}
    known = {"coverage": 0.92, "people_recall": 0.4}
    countries = {"Freedonia": country | known, "Sylvania": country, evil: country | {"support": 9}}
    (project / "metrics/countries.json").write_text(json.dumps(countries), encoding="utf-8")
    (project / "metrics/baseline.json").write_text('{"people_accuracy": 0.7}', encoding="utf-8")
    text = card(project)
    (people,) = (line for line in text.splitlines() if line.startswith("| people | surname |"))
    assert people.split(" | ")[3:6:2] == ["0.700", ""]
    for line in (
        "| Freedonia | 400 | 0.900 | 0.900 | 0.900 | 0.920 | 0.900 | 0.400 |  |",
        "| Sylvania | 400 | 0.900 | 0.900 | 0.900 |  | 0.900 |  |  |",
        f"| `{evil}` | 9 | 0.900 | 0.900 | 0.900 |  | 0.900 |  |  |",
    ):
        assert line in text.splitlines(), line
    assert "are groups" not in text  # none has two of these countries
    assert text.count(evil) == text.count(f"`{evil}`")


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_missing_or_damaged_metrics_are_one_line(
    project: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "metrics/export.json").unlink()
    if content is not None:
        (project / "metrics/export.json").write_text(content)
    assert cli.main(["card"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "dvc repro" in err
