"""The model card says what the metrics say, and the committed one is up to date."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.commands import cli
from tests.conftest import ROOT

METRICS = {
    "ingest": {
        "train": {"kept": 1000, "rejected": 1, "duplicates": 7},
        "test": {"kept": 500, "rejected": 0, "duplicates": 3},
        "overlap": {"names": 20, "pairs": 10},
    },
    "evaluate": {
        **{"accuracy": 0.81234, "macro_f1": 0.7, "top3_accuracy": 0.9, "unseen_accuracy": 0.8},
        **{"nll": 0.6, "ece": 0.0123, "coverage": 0.91, "set_size": 1.8},
        **{"people_accuracy": 0.71, "people_top3": 0.88, "people_unseen_accuracy": 0.65},
        **{"people_ece": 0.02, "people_coverage": 0.93, "people_set_size": 3.1},
        **{"people_group_accuracy": 0.8234, "people_full_accuracy": 0.79, "people_full_top3": 0.9},
    },
    "countries": {
        "Freedonia": {
            **{"precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 100},
            **{"coverage": 0.87, "confidence": 0.66, "people_recall": 0.4},
        },
        "Sylvania": {
            **{"precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 400},
            **{"coverage": 0.92, "confidence": 0.88},
        },
    },
    "details": {
        "interval": {"lower": 0.79, "upper": 0.83},
        "scripts": {
            "ascii": {"support": 300, "accuracy": 0.77, "lower": 0.72, "upper": 0.81, "ece": 0.02}
        },
        "thresholds": {"0.5": {"answered": 0.9, "right": 0.95}},
        "uncalibrated": {"nll": 0.61, "ece": 0.0345},
    },
    "baseline": {"accuracy": 0.79, "macro_f1": 0.65, "people_accuracy": 0.7, "people_top3": 0.86},
    "export": {
        **{"names": 500, "same_top1": 1.0, "probability_difference_below": 1e-6, "opset": 28},
        **{"bytes": 1234567, "weights": 300000, "codes": 90, "countries": 2},
        **{"max_length": 100, "temperature": 1.23},
    },
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "metrics").mkdir()
    for name, values in METRICS.items():
        (tmp_path / f"metrics/{name}.json").write_text(json.dumps(values))
    (tmp_path / "metrics/evaluate").mkdir()
    (tmp_path / "metrics/evaluate/confusion.csv").write_text(
        "actual,predicted,rows,share\nFreedonia,Freedonia,25,0.25\nFreedonia,Sylvania,75,0.75\n"
    )
    return tmp_path


def test_card_says_what_the_metrics_say(project: Path) -> None:
    assert cli.main(["card"]) == 0
    text = (project / "docs/model-card.md").read_text()
    for said in ("| accuracy | 0.8123 | 0.7900 |", "0.000001", "ECE is 0.0123 with it and 0.0345"):
        assert said in text
    for said in (
        "| Freedonia | 100 | 0.500 | 0.250 | 0.333 | 0.870 | 0.660 | 0.400 |  |",
        "| Sylvania | 400 | 0.900 | 0.900 | 0.900 | 0.920 | 0.880 |  |  |",
        "| people | surname | 0.710 | 0.700 | 0.880 | 0.860 | 0.650 | 0.020 | 0.930 | 3.100 |",
        "| people | full name | 0.790 |  | 0.900 |  |  |  |  |  |",
        "Of the people, 82.3 % by surname get a country of the right group",
        "A classifier of surnames into 2 countries",
        "A label is a country or language community of the training rows: ",
        "| ascii | 300 | 0.770 | 0.720 to 0.810 | 0.020 |",
        "| 0.5 | 0.900 | 0.950 |",
        "75 % of the Freedonia names (75) are predicted to be Sylvania",
    ):
        assert said in text
    assert text.index("| Sylvania | 400 |") < text.index("| Freedonia | 100 |")
    assert "weakest on Freedonia" in text
    assert "not a nationality" in text


def test_card_says_which_countries_are_groups_and_what_the_model_reads(project: Path) -> None:
    groups = "{Marx: [Sylvania, Freedonia, Osterlich], Empty: [Elsewhere]}"
    text = (project / "params.yaml").read_text()
    text = re.sub(r"  groups:\n(?:    .*\n)+", f"  groups: {groups}\n", text)
    (project / "params.yaml").write_text(text.replace("names: surnames", "names: both"))
    assert cli.main(["card"]) == 0
    text = (project / "docs/model-card.md").read_text()
    assert "A classifier of surnames and full names into 2 countries" in text
    assert "\n- Marx: Sylvania, Freedonia\n" in text and "Empty" not in text


def test_countries_of_a_stranger_are_inert(project: Path) -> None:
    evil = "[Freedonia](http://evil.example) @all <b>"
    for path in ("metrics/countries.json", "metrics/evaluate/confusion.csv"):
        text = (project / path).read_text()
        (project / path).write_text(text.replace("Freedonia", evil))
    assert cli.main(["card"]) == 0
    text = (project / "docs/model-card.md").read_text()
    assert text.count(evil) == text.count(f"`{evil}`") == 3


def test_metadata_is_yaml_that_model_hubs_read(project: Path) -> None:
    cli.main(["card"])
    _, front, _ = (project / "docs/model-card.md").read_text().split("---\n", 2)
    metadata = YAML(typ="safe").load(front)
    (result,) = metadata["model-index"][0]["results"]
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values["accuracy"] == METRICS["evaluate"]["accuracy"]
    assert values["coverage"] == METRICS["evaluate"]["coverage"]
    assert metadata["pipeline_tag"] == "text-classification"


def test_card_is_a_function_of_its_inputs(project: Path) -> None:
    cli.main(["card"])
    first = (project / "docs/model-card.md").read_bytes()
    cli.main(["card", "--output", "again.md"])
    assert (project / "again.md").read_bytes() == first


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


def test_committed_card_is_what_the_committed_metrics_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    card = ROOT / "docs/model-card.md"
    if (ROOT / "metrics/export.json").exists():
        assert cli.main(["card", "--output", str(tmp_path / "card.md")]) == 0
        assert card.read_bytes() == (tmp_path / "card.md").read_bytes(), "run: onoma card"
    else:
        assert not card.exists()  # a card without the figures that it is made of
