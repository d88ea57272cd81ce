"""The real `dvc repro` on a toy corpus, in a project of its own."""

import json
from pathlib import Path

import pytest

from tests.conftest import SHARED, git, run_stages, set_params, succeed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_stages")]


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_metrics_have_every_promised_key(built: Path) -> None:
    ingest = read(built / "metrics/ingest.json")
    for split in ("train", "test"):
        assert ingest[split].keys() == {"read", "kept", "rejected", "duplicates"}
    assert ingest["overlap"].keys() == {"names", "pairs"}
    evaluation = read(built / "metrics/evaluate.json")
    scalars = {"accuracy", "macro_f1", "top3_accuracy", "nll", "ece", "unseen_accuracy"}
    assert scalars < evaluation.keys()
    assert all(isinstance(evaluation[name], float) for name in scalars)
    for prefix in ("people", "persons"):
        assert 0.5 < evaluation[f"{prefix}_accuracy"] <= evaluation[f"{prefix}_top3"] == 1.0
        people = {"ece", "coverage", "set_size", "unseen_accuracy"}
        assert {f"{prefix}_{name}" for name in people} < evaluation.keys()
    for country in read(built / "metrics/countries.json").values():
        assert country.keys() == {
            *("precision", "recall", "f1", "support", "confidence", "coverage"),
            *("people_recall", "people_coverage", "persons_recall", "persons_coverage"),
        }
    assert read(built / "metrics/baseline.json").keys() == {
        *("accuracy", "macro_f1"),
        *("people_accuracy", "people_top3", "persons_accuracy", "persons_top3"),
    }
    epochs = read(built / "metrics/epochs.json")
    assert epochs.keys() == {"train_loss", "train_accuracy", "test_loss", "test_accuracy"}
    assert list(epochs["test_accuracy"]) == ["01", "02"]
    assert evaluation["accuracy"] == pytest.approx(epochs["test_accuracy"]["02"])


def test_people_can_be_left_out(project: Path) -> None:
    set_params(project, evaluate__people="null")
    succeed(project, "dvc", "repro", "evaluate", "baseline")
    for stage in ("evaluate", "baseline"):
        metrics = read(project / f"metrics/{stage}.json")
        assert not [name for name in metrics if name.startswith("pe")], "people_, persons_"


def test_a_second_repro_finds_nothing_to_do_and_a_forced_one_gives_the_same_bytes(
    project: Path,
) -> None:
    assert "Data and pipelines are up to date." in succeed(project, "dvc", "repro")
    before = (project / "dvc.lock").read_bytes()
    succeed(project, "dvc", "repro", "--force")
    assert (project / "dvc.lock").read_bytes() == before
    assert git(project, "status", "--porcelain") == ""


def test_rows_held_out_for_validation_add_a_curve(project: Path) -> None:
    set_params(project, index__validation=0.2, train__epochs=1)
    succeed(project, "dvc", "repro", "train")
    epochs = read(project / "metrics/epochs.json")
    assert list(epochs["test_accuracy"]) == list(epochs["validation_accuracy"]) == ["01"]
    assert (project / "metrics/train/plots/metrics/validation/accuracy.tsv").is_file()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference corpus is not here")
def test_the_reference_corpus_is_read_whole(project: Path) -> None:
    corpus = SHARED / "corpus"
    files = {split: corpus / f"names_{split}.csv.gz" for split in ("train", "test")}
    set_params(project, **{f"ingest__{split}": file for split, file in files.items()})
    run_stages(project, "ingest", "index")
    ingest = read(project / "metrics/ingest.json")
    assert (ingest["train"]["kept"], ingest["test"]["kept"]) == (13374, 6700)
