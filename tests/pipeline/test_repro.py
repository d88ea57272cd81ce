"""The real `dvc repro` on a toy corpus, in a project of its own."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import SHARED, git, run, set_params

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_stages")]


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed at will."""
    return Path(shutil.copytree(built, tmp_path / "project", symlinks=True))


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
    done = run(project, "dvc", "repro", "evaluate", "baseline")
    assert done.returncode == 0, done.stderr
    for stage in ("evaluate", "baseline"):
        metrics = read(project / f"metrics/{stage}.json")
        assert not [name for name in metrics if name.startswith("pe")], "people_, persons_"


def test_a_second_repro_finds_nothing_to_do_and_a_forced_one_gives_the_same_bytes(
    project: Path,
) -> None:
    done = run(project, "dvc", "repro")
    assert "Data and pipelines are up to date." in done.stdout
    before = (project / "dvc.lock").read_bytes()
    done = run(project, "dvc", "repro", "--force")
    assert done.returncode == 0, done.stderr
    assert (project / "dvc.lock").read_bytes() == before
    assert git(project, "status", "--porcelain") == ""


def test_what_is_set_after_a_recipe_counts_and_a_validation_part_adds_a_curve(
    project: Path,
) -> None:
    flags = run(project, "onoma", "recipe", "fast").stdout.split()
    for setting in (
        "train.device=cpu",
        "train.processes=2",
        "train.epochs=1",
        "model.hidden=8",
        "index.validation=0.2",
    ):
        flags += ["-S", setting]
    done = run(project, "dvc", "exp", "run", *flags, "train")
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stdout
    model = read(project / "data/model/config.json")["model"]
    assert model["hidden"] == 8
    assert model["embedding"] == 32, "the recipe's"
    epochs = read(project / "metrics/epochs.json")
    assert list(epochs["test_accuracy"]) == ["01"]
    assert "validation_accuracy" in epochs
    assert (project / "metrics/train/plots/metrics/validation/accuracy.tsv").is_file()

    done = run(project, "dvc", "exp", "run", "-S", "model.cell=banana")
    assert done.returncode != 0
    assert "params.yaml: model.cell: input should be" in done.stderr


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference corpus is not here")
def test_the_reference_corpus_is_read_whole(project: Path) -> None:
    corpus = SHARED / "corpus"
    files = {split: corpus / f"names_{split}.csv.gz" for split in ("train", "test")}
    set_params(project, **{f"ingest__{split}": file for split, file in files.items()})
    for stage in ("ingest", "index"):
        done = run(project, "python", "-m", f"stages.{stage}")
        assert done.returncode == 0, done.stderr
    ingest = read(project / "metrics/ingest.json")
    assert (ingest["train"]["kept"], ingest["test"]["kept"]) == (13374, 6700)
