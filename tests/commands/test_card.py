"""The model card says what the metrics say, and the committed one is up to date."""

import json
import re
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

    _, front, _ = text.split("---\n", 2)
    metadata = YAML(typ="safe").load(front)
    assert metadata["pipeline_tag"] == "text-classification"
    (result,) = metadata["model-index"][0]["results"]
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert {key: scores[key] for key in values} == values


def test_the_card_says_how_people_fare_what_the_model_reads_and_which_countries_are_groups(
    project: Path,
) -> None:
    country = {"precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 400}
    country |= {"coverage": 0.92, "confidence": 0.88}
    people = {
        "evaluate": """accuracy 0.71 top3 0.88 unseen_accuracy 0.65 ece 0.02 coverage 0.93
            set_size 3.1 group_accuracy 0.8234 full_accuracy 0.79 full_top3 0.9""",
        "baseline": "accuracy 0.7 top3 0.86",
    }
    for part, words in people.items():
        path = project / f"metrics/{part}.json"
        metrics = json.loads(path.read_text(encoding="utf-8"))
        metrics = {key: value for key, value in metrics.items() if key[:3] != "peo"}
        keys, values = words.split()[::2], map(float, words.split()[1::2])
        metrics |= {f"people_{key}": value for key, value in zip(keys, values, strict=True)}
        path.write_text(json.dumps(metrics), encoding="utf-8")
    evil = "[Evil](http://evil.example) @all <b>"
    countries = {"Freedonia": country | {"people_recall": 0.4}, "Sylvania": country}
    countries |= {evil: country | {"f1": 0.91, "support": 9}}
    (project / "metrics/countries.json").write_text(json.dumps(countries), encoding="utf-8")
    groups = "{Marx: [Sylvania, Freedonia, Osterlich], Empty: [Elsewhere]}"
    params = (project / "params.yaml").read_text(encoding="utf-8")
    params = re.sub(r"  groups:\n(?:    .*\n)+", f"  groups: {groups}\n", params)
    params = params.replace("  names: surnames", "  names: both")
    (project / "params.yaml").write_text(params, encoding="utf-8")
    text = card(project)
    for line in (
        "| Freedonia | 400 | 0.900 | 0.900 | 0.900 | 0.920 | 0.880 | 0.400 |  |",
        "| Sylvania | 400 | 0.900 | 0.900 | 0.900 | 0.920 | 0.880 |  |  |",
        "| people | surname | 0.710 | 0.700 | 0.880 | 0.860 | 0.650 | 0.020 | 0.930 | 3.100 |",
        "| people | full name | 0.790 |  | 0.900 |  |  |  |  |  |",
        "Of the people, 82.3 % by surname get a country of the right group.",
        "- Marx: Sylvania, Freedonia",
    ):
        assert line in text.splitlines(), line
    assert "Empty" not in text
    rows = [line for line in text.splitlines() if evil in line and line.startswith("|")]
    assert len(rows) == 1 and rows[0].startswith(f"| `{evil}` | 9 |")
    assert text.count(evil) == text.count(f"`{evil}`")  # what a stranger calls a country is inert
    assert "A classifier of surnames and full names into" in text
    assert "A label is a country or language community of the training rows: " in text


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
