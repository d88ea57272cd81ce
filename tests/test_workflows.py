"""The workflows on GitHub run what people and tests run here, and nothing else."""

import os
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, succeed

WORKFLOWS = {
    path.stem: YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
JOBS = [job for workflow in WORKFLOWS.values() for job in workflow["jobs"].values()]
COMMANDS = [step["run"] for job in JOBS for step in job["steps"] if "run" in step]
TARGETS = [command for command in COMMANDS if command.startswith("make ")]
RELEASE = "dist/onoma-1.2.3-py3-none-any.whl docs/model-card.md --verify-tag --title onoma 1.2.3"
TITLE = "Retraining needs attention"
GH = '#!/bin/sh\nif [ "$2" = list ]; then printf %s "$ISSUE"; else echo "$*"; fi\n'
TOLD = [
    ("gh pr", "", "pr comment 7 --body-file .onoma/metrics.md --edit-last --create-if-none"),
    ("gh issue", "", f"issue create --title {TITLE} --body-file .onoma/report.md"),
    ("gh issue", "12", "issue comment 12 --body-file .onoma/report.md"),
    ("gh release", "", f"release create v1.2.3 {RELEASE} --generate-notes"),
]


def test_steps_are_targets_of_the_makefile_and_tests_run_on_every_python_that_is_claimed() -> None:
    assert {"make test", "make verify", "make retrain", "make test-versions"} <= set(TARGETS)
    succeed(ROOT, "make", "--dry-run", *(command.split()[1] for command in TARGETS))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    claimed = [text.split(" :: ")[-1] for text in project["classifiers"] if ":: 3." in text]
    assert WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"] == claimed
    # All others put a report into the summary, or tell GitHub of it.
    summaries = {
        f'cat .onoma/{name}.md >> "$GITHUB_STEP_SUMMARY"' for name in ("metrics", "report")
    }
    others = {*COMMANDS} - {*TARGETS}
    assert {command for command in others if "gh " not in command} == summaries


def test_a_workflow_has_no_right_that_a_job_does_not_ask_for() -> None:
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {}
        assert all(job["permissions"]["contents"] for job in workflow["jobs"].values())


@pytest.mark.parametrize(("program", "issue", "told"), TOLD)
def test_a_report_is_in_one_comment_or_issue_and_a_release_is_the_wheel_and_the_card(
    program: str, issue: str, told: str, tmp_path: Path
) -> None:
    (command,) = (command for command in COMMANDS if program in command)
    gh = tmp_path / "gh"  # prints its arguments, and lists the issue
    gh.write_text(GH, encoding="utf-8")
    gh.chmod(0o755)
    variables = {"PULL_REQUEST": "7", "GITHUB_REF_NAME": "v1.2.3", "ISSUE": issue}
    variables["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    printed = succeed(tmp_path, "bash", "-eo", "pipefail", "-c", command, env=variables)
    assert printed.startswith(told)


def test_a_release_is_of_a_verified_pipeline() -> None:
    steps = WORKFLOWS["release"]["jobs"]["release"]["steps"]
    *targets, release = (step["run"] for step in steps if "run" in step)
    assert targets == ["make verify", "make repro", "make wheel"]
    assert "gh release create" in release
