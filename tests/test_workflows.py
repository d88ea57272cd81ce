"""The workflows on GitHub run what people and tests run here, and nothing else."""

import os
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

WORKFLOWS = {
    path.stem: YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
JOBS = [job for workflow in WORKFLOWS.values() for job in workflow["jobs"].values()]
COMMANDS = [step["run"] for job in JOBS for step in job["steps"] if "run" in step]
TARGETS = [command for command in COMMANDS if command.startswith("make ")]
REPORTS = [command for command in COMMANDS if command not in TARGETS]
REPORT = "# A report\n"


def test_there_is_something_to_run() -> None:
    assert {"make test", "make verify", "make retrain", "make test-versions"} <= set(TARGETS)
    assert len(REPORTS) == 4


@pytest.mark.parametrize("command", TARGETS)
def test_a_step_is_a_target_of_the_makefile(command: str) -> None:
    _, target, *_ = command.split()
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_tests_run_on_every_python_that_the_package_claims() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    claimed = [text.split(" :: ")[-1] for text in project["classifiers"] if ":: 3." in text]
    assert WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"] == claimed


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_no_right_that_a_job_does_not_ask_for(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    assert all(job["permissions"]["contents"] for job in WORKFLOWS[name]["jobs"].values())


def run_step(folder: Path, command: str, issue: str = "") -> tuple[str, str]:
    """Run a step as a runner does, with a `gh` that notes its arguments; return notes, summary."""
    (folder / ".onoma").mkdir()
    for name in ("metrics.md", "report.md"):
        (folder / ".onoma" / name).write_text(REPORT, encoding="utf-8")
    gh = folder / "bin/gh"
    gh.parent.mkdir()
    gh.write_text(
        "#!/bin/sh\n"
        f'if [ "$2" = list ]; then printf "%s" "{issue}"; exit; fi\n'
        'echo "$@" >> notes\n'
        'while [ "$1" != --body-file ]; do shift; done; cat "$2" >> notes\n',
        encoding="utf-8",
    )
    gh.chmod(0o755)
    environment = {
        "PATH": f"{gh.parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": "summary",
        "PULL_REQUEST": "7",
    }
    (folder / "notes").touch()
    (folder / "summary").touch()
    subprocess.run(
        ["bash", "-eo", "pipefail", "-c", command], cwd=folder, env=environment, check=True
    )
    return (folder / "notes").read_text(), (folder / "summary").read_text()


@pytest.mark.parametrize("command", [c for c in REPORTS if "SUMMARY" in c])
def test_a_report_is_in_the_summary(tmp_path: Path, command: str) -> None:
    assert run_step(tmp_path, command) == ("", REPORT)


def test_the_metrics_are_one_comment_of_the_pull_request(tmp_path: Path) -> None:
    (command,) = (c for c in REPORTS if "gh pr" in c)
    notes, _ = run_step(tmp_path, command)
    assert notes == (
        "pr comment 7 --body-file .onoma/metrics.md --edit-last --create-if-none\n" + REPORT
    )


@pytest.mark.parametrize(("issue", "words"), [("", "issue create"), ("12", "issue comment 12")])
def test_failed_retrainings_share_an_issue(tmp_path: Path, issue: str, words: str) -> None:
    (command,) = (c for c in REPORTS if "gh issue" in c)
    notes, _ = run_step(tmp_path, command, issue)
    assert notes.startswith(words)
    assert notes.endswith(REPORT)
