"""What `onoma retrain` does besides the pipeline; tests/pipeline/test_retrain.py runs all of it."""

import shutil
from pathlib import Path

import pytest

from stages.retrain.command import keep_runs
from tests.conftest import git, run

PIPELINE = """
stages:
  train:
    cmd: mkdir -p plots && date +%N > plots/loss.tsv && date +%N > model
    deps: [data]
    outs:
      - model
      - plots:
          cache: false
"""


@pytest.mark.slow
def test_a_stage_with_uncached_outputs_is_not_run_again_for_the_same_data(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "data").write_text("Abe,Japan")
    for command in ("init", "repro"):
        assert run(tmp_path, "dvc", command).returncode == 0
    results = [tmp_path / "model", tmp_path / "plots/loss.tsv"]
    before = [path.read_text() for path in results]
    keep_runs(tmp_path)
    for path in (tmp_path / "model", tmp_path / "dvc.lock"):
        path.unlink()
    shutil.rmtree(tmp_path / "plots")
    assert "is cached - skipping run" in run(tmp_path, "dvc", "repro").stdout
    assert [path.read_text() for path in results] == before
