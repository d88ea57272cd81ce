"""The real `dvc repro` on a toy corpus, in a project of its own."""

import json
import shutil
from pathlib import Path

import pytest

from stages.core.params import Params
from tests.conftest import ROOT, SHARED, git, run, set_params, toy_rows, write_corpus

pytestmark = pytest.mark.slow


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


def test_the_evaluation_agrees_with_the_last_epoch(built: Path) -> None:
    last = read(built / "metrics/epochs.json")["test_accuracy"]["02"]
    assert read(built / "metrics/evaluate.json")["accuracy"] == pytest.approx(last)


def test_a_second_repro_finds_nothing_to_do_and_leaves_the_tree_clean(built: Path) -> None:
    done = run(built, "dvc", "repro")
    assert "Data and pipelines are up to date." in done.stdout
    assert git(built, "status", "--porcelain") == ""


@pytest.mark.parametrize("people", ["null", "names_persons.csv.gz"])
def test_people_can_be_left_out_and_other_files_of_them_change_the_metrics(
    people: str, project: Path
) -> None:
    set_params(project, evaluate__people=people)
    done = run(project, "dvc", "repro", "evaluate", "baseline")
    assert done.returncode == 0, done.stderr
    kept = set() if people == "null" else {"persons_accuracy", "persons_top3"}
    for stage in ("evaluate", "baseline"):
        metrics = read(project / f"metrics/{stage}.json")
        assert {name for name in metrics if name.startswith("people_")} == set()
        assert kept <= metrics.keys()
    if kept:
        rows = [("surname", "country"), *toy_rows(20, 9)]
        write_corpus(project / "data/raw/people/names_persons.csv.gz", rows)
        assert "evaluate" in run(project, "dvc", "status").stdout


def test_a_forced_repro_gives_the_same_bytes(project: Path) -> None:
    before = (project / "dvc.lock").read_bytes()
    done = run(project, "dvc", "repro", "--force")
    assert done.returncode == 0, done.stderr
    assert (project / "dvc.lock").read_bytes() == before
    assert git(project, "status", "--porcelain") == ""


def test_a_train_key_reruns_train_and_what_follows_and_nothing_before(project: Path) -> None:
    flags = ("-S", "train.epochs=3", "-S", "model.cell=lstm")
    done = run(project, "dvc", "exp", "run", *flags, "evaluate", "baseline")
    assert done.returncode == 0, done.stderr
    assert "Running stage 'train'" in done.stdout
    assert "Running stage 'evaluate'" in done.stdout
    for stage in ("ingest", "index", "baseline"):
        assert f"Stage '{stage}' didn't change, skipping" in done.stdout
    difference = json.loads(run(project, "dvc", "metrics", "diff", "HEAD", "--json").stdout)
    # What did not change is not listed, and on so few rows an accuracy may not.
    assert difference["metrics/evaluate.json"]["nll"].keys() >= {"old", "new", "diff"}
    assert difference["metrics/epochs.json"]["train_loss.02"].keys() >= {"old", "new", "diff"}
    assert "new" in difference["metrics/epochs.json"]["test_accuracy.03"]


def test_the_plots_render_for_one_revision_and_between_two(project: Path) -> None:
    set_params(project, train__epochs=3)
    assert run(project, "dvc", "repro", "evaluate").returncode == 0
    git(project, "commit", "--quiet", "--all", "--message=longer")
    for command, revisions in (
        (("show",), ["workspace"]),
        (("diff", "HEAD~1", "HEAD"), ["HEAD~1", "HEAD"]),
    ):
        done = run(project, "dvc", "plots", *command, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert not found.get("errors"), found["errors"]
        assert {"accuracy", "loss", "confusion", "countries"} <= found["data"].keys()
        for name in ("accuracy", "loss", "confusion", "countries"):
            (plot,) = found["data"][name]
            assert plot["revisions"] == revisions
            values = plot["content"]["data"]["values"]
            assert {value["rev"] for value in values} >= set(revisions), name


def test_a_validation_part_adds_one_curve(project: Path) -> None:
    set_params(project, index__validation=0.2)
    assert run(project, "dvc", "repro", "train").returncode == 0
    assert "validation_accuracy" in read(project / "metrics/epochs.json")
    assert (project / "metrics/train/plots/metrics/validation/accuracy.tsv").is_file()


def exp_run(project: Path, *flags: str) -> str:
    done = run(project, "dvc", "exp", "run", *flags, "train")
    assert done.returncode == 0, done.stderr
    return done.stdout


def config(project: Path) -> dict:
    return read(project / "data/model/config.json")


def test_what_is_set_after_a_recipe_counts(project: Path) -> None:
    flags = run(project, "onoma", "recipe", "fast", "--flags").stdout.split()
    after = ("train.device=cpu", "train.processes=2", "train.epochs=1", "model.hidden=8")
    printed = exp_run(project, *flags, *(part for key in after for part in ("-S", key)))
    assert config(project)["model"]["hidden"] == 8
    assert config(project)["model"]["embedding"] == 32, "the recipe's"
    assert list(read(project / "metrics/epochs.json")["test_accuracy"]) == ["01"]
    assert "epoch 1/1" in printed


def test_a_change_after_a_recipe_is_run_and_an_impossible_one_is_refused(project: Path) -> None:
    assert run(project, "onoma", "recipe", "fast").returncode == 0
    set_params(project, model__hidden=8, model__wide_buckets=64, train__epochs=2)
    exp_run(project)
    assert config(project)["model"]["cell"] == "gru"
    exp_run(project, "-S", "model.cell=lstm", "-S", "train.epochs=3")
    assert config(project)["model"]["cell"] == "lstm"
    assert len(read(project / "metrics/epochs.json")["test_accuracy"]) == 3
    done = run(project, "dvc", "exp", "run", "-S", "model.cell=banana")
    assert done.returncode != 0
    assert "params.yaml: model.cell: input should be" in done.stderr


@pytest.mark.parametrize("recipe", ["fast", "seed"])
def test_a_recipe_is_written_by_one_command_and_trains(project: Path, recipe: str) -> None:
    assert run(project, "onoma", "recipe", recipe).returncode == 0
    set_params(project, train__epochs=1)
    assert run(project, "dvc", "repro", "train").returncode == 0
    assert config(project)["model"] == Params.load(project / "params.yaml").model.model_dump()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train__device": "cuda:7"}, "train.device: cuda:7 is not on this machine"),
        ({"train__epochs": 0}, "params.yaml: train.epochs: input should be greater"),
        ({"model__hidden": "wide"}, "params.yaml: model.hidden: input should be a valid integer"),
    ],
)
def test_a_user_s_error_is_one_line_and_exit_1(project: Path, change: dict, words: str) -> None:
    set_params(project, **change)
    done = run(project, "python", "-m", "stages.train")
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_file_is_named(project: Path) -> None:
    set_params(project, ingest__train="data/raw/nowhere.csv.gz")
    done = run(project, "python", "-m", "stages.ingest")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "data/raw/nowhere.csv.gz: no such CSV or Parquet" in done.stderr


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference corpus is not here")
def test_the_reference_corpus_is_read_whole(project: Path) -> None:
    corpus = SHARED / "corpus"
    done = run(
        project,
        *("dvc", "exp", "run", "index"),
        *("-S", f"ingest.train={corpus / 'names_train.csv.gz'}"),
        *("-S", f"ingest.test={corpus / 'names_test.csv.gz'}"),
    )
    assert done.returncode == 0, done.stderr
    ingest = read(project / "metrics/ingest.json")
    assert (ingest["train"]["kept"], ingest["test"]["kept"]) == (13374, 6700)
    assert ROOT not in (project / "data").parents
