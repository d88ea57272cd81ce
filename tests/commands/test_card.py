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


def test_hubs_read_the_scores_at_its_head(project: Path) -> None:
    scores = json.loads((project / "metrics/evaluate.json").read_text(encoding="utf-8"))
    _, front, _ = card(project).split("---\n", 2)
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
    countries = {evil: country | {"support": 9, "f1": 0.8}, "Freedonia": country | known}
    (project / "metrics/countries.json").write_text(json.dumps(countries), encoding="utf-8")
    (project / "metrics/baseline.json").write_text('{"people_accuracy": 0.7}', encoding="utf-8")
    text = card(project)
    (people,) = (line for line in text.splitlines() if line.startswith("| people | surname |"))
    assert people.split(" | ")[3:6:2] == ["0.700", ""]
    rows = (
        "| Freedonia | 400 | 0.900 | 0.900 | 0.900 | 0.920 | 0.900 | 0.400 |  |\n"
        f"| `{evil}` | 9 | 0.900 | 0.900 | 0.800 |  | 0.900 |  |  |\n"
    )
    assert rows in text and f"weakest on `{evil}` (F1 0.80), Freedonia" in text
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
