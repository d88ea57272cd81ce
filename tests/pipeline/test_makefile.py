"""What `make` and DVC show of a run and between two, and how to go back, in a toy project."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import git, run, set_params, succeed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_stages")]


def make(folder: Path, *arguments: str) -> tuple[int, str]:
    done = run(folder, "make", "--no-print-directory", *arguments)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def longer(built: Path, made_once: Callable[..., Path], forked_stages: None) -> Path:
    """The same after an experiment with one more epoch, not committed; .git/exp.log says how."""

    def make(folder: Path) -> None:
        shutil.copytree(built, folder, symlinks=True)
        printed = succeed(folder, "dvc", "exp", "run", "-S", "train.epochs=3")
        (folder / ".git/exp.log").write_text(printed, encoding="utf-8")

    return made_once("longer", make)


@pytest.fixture
def project(longer: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(longer, tmp_path / "clone"))


def test_a_run_ends_with_a_narrow_table_where_the_plots_are_and_what_to_try(
    built: Path,
) -> None:
    *_, table = (built / ".git/make.log").read_text("utf-8").split("dvc metrics diff")
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    for words in ("evaluate.json  accuracy", "baseline.json  accuracy"):
        assert words in table
    assert [line.split(":")[0] for line in lines[-3:]] == ["Plots", "Ask it", "Change it"]


def test_a_train_key_reruns_train_and_what_follows_and_nothing_before(longer: Path) -> None:
    printed = (longer / ".git/exp.log").read_text("utf-8")
    for stage in ("train", "evaluate", "export"):
        assert f"Running stage '{stage}'" in printed
    for stage in ("ingest", "index", "baseline"):
        assert f"Stage '{stage}' didn't change, skipping" in printed
    difference = json.loads(succeed(longer, "dvc", "metrics", "diff", "HEAD", "--json"))
    # What did not change is not listed, and on so few rows an accuracy may not.
    assert difference["metrics/evaluate.json"]["nll"].keys() >= {"old", "new", "diff"}
    assert difference["metrics/epochs.json"]["train_loss.02"].keys() >= {"old", "new", "diff"}
    assert "new" in difference["metrics/epochs.json"]["test_accuracy.03"]


def test_metrics_of_a_changed_epoch_count_fit_40_lines_and_the_rest_comes_on_request(
    longer: Path,
) -> None:
    status, short = make(longer, "metrics-diff")
    assert status == 0, short
    assert len(short.splitlines()) <= 40
    assert "| accuracy" in short or "| nll" in short
    assert "test_accuracy.03" not in short
    assert "test_accuracy.03" in make(longer, "metrics-diff", "ALL=1")[1]


def test_experiments_fit_a_terminal(longer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # of the terminal; columns that do not fit are elided
    status, printed = make(longer, "experiments")
    assert status == 0, printed
    assert "train.epochs" in printed
    assert max(map(len, printed.splitlines()[2:])) <= 120, printed


def test_the_page_of_plots_has_each_once_and_tables_without_a_network(longer: Path) -> None:
    succeed(longer, "dvc", "plots", "show")
    page = (longer / "dvc_plots/index.html").read_text(encoding="utf-8")
    plots = re.findall(r'<div id = "(\w+)"', page)
    assert plots == ["accuracy", "loss", "confusion", "countries", "hello"]
    assert "window.vegaEmbed ??=" in page


def test_undo_brings_back_the_committed_params_and_results(project: Path) -> None:
    assert git(project, "status", "--porcelain")
    status, printed = make(project, "undo")
    assert status == 0, printed
    assert git(project, "status", "--porcelain") == ""
    assert "up to date" in run(project, "dvc", "status").stdout

    # Rewritten at equal size within the second that git recorded: git takes it for unchanged.
    metrics = project / "metrics/evaluate.json"
    committed, recorded = metrics.read_text("utf-8"), metrics.stat()
    git(project, "config", "core.trustctime", "false")
    git(project, "config", "core.checkStat", "minimal")
    metrics.write_text(committed.translate(str.maketrans("123456789", "987654321")), "utf-8")
    run(project, "touch", "-d", f"@{recorded.st_mtime_ns / 10**9:.9f}", str(metrics))
    assert git(project, "status", "--porcelain") == ""
    assert make(project, "undo")[0] == 0
    assert metrics.read_text("utf-8") == committed


def test_undo_without_a_cache_names_what_is_missing_and_how_to_get_it(project: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    status, printed = make(project, "undo")
    assert status != 0
    assert "data/model" in printed
    assert "make them again by `dvc repro`" in printed
    assert git(project, "status", "--porcelain") == ""


def test_a_typo_is_refused_before_dvc_removes_the_model(project: Path) -> None:
    set_params(project, train__epochs=0)
    status, printed = make(project, "repro")
    assert status != 0
    assert "onoma: params.yaml: train.epochs: input should be greater" in printed
    assert (project / "data/model/model.safetensors").is_file()
