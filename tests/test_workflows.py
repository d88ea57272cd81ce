"""The workflows on GitHub run what people and tests run here, and nothing else."""

import os
import tomllib
from pathlib import Path

from ruamel.yaml import YAML

from tests.conftest import ROOT, run

WORKFLOWS = {
    path.stem: YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
JOBS = [job for workflow in WORKFLOWS.values() for job in workflow["jobs"].values()]
COMMANDS = [step["run"] for job in JOBS for step in job["steps"] if "run" in step]
TARGETS = [command for command in COMMANDS if command.startswith("make ")]
RELEASE = next(command for command in COMMANDS if "gh release create" in command)
REPORTS = [command for command in COMMANDS if command not in (*TARGETS, RELEASE)]
REPORT = "# A report\n"


def test_steps_are_targets_of_the_makefile_and_tests_run_on_every_python_that_is_claimed() -> None:
    assert {"make test", "make verify", "make retrain", "make test-versions"} <= set(TARGETS)
    done = run(ROOT, "make", "--dry-run", *(command.split()[1] for command in TARGETS))
    assert done.returncode == 0, done.stderr
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    claimed = [text.split(" :: ")[-1] for text in project["classifiers"] if ":: 3." in text]
    assert WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"] == claimed


def test_a_workflow_has_no_right_that_a_job_does_not_ask_for() -> None:
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {}
        assert all(job["permissions"]["contents"] for job in workflow["jobs"].values())


def run_step(folder: Path, command: str, issue: str = "") -> tuple[str, str]:
    """Run a step as a runner does, with a `gh` that notes its arguments; return notes, summary."""
    (folder / ".onoma").mkdir(parents=True)
    for name in ("metrics.md", "report.md"):
        (folder / ".onoma" / name).write_text(REPORT, encoding="utf-8")
    gh = folder / "gh"
    gh.write_text(
        "#!/bin/sh\n"
        f'if [ "$2" = list ]; then printf "%s" "{issue}"; exit; fi\n'
        'IFS=,; echo "$*" >> notes\n'
        'for word; do [ "$body" ] && cat "$word" >> notes; body=;\n'
        '[ "$word" != --body-file ] || body=next; done\n',
        encoding="utf-8",
    )
    gh.chmod(0o755)
    variables = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": "summary",
        "PULL_REQUEST": "7",
        "GITHUB_REF_NAME": "v1.2.3",
    }
    for name in ("notes", "summary"):
        (folder / name).touch()
    done = run(folder, "bash", "-eo", "pipefail", "-c", command, env=variables)
    assert done.returncode == 0, done.stderr
    return (folder / "notes").read_text(), (folder / "summary").read_text()


def test_reports_are_in_the_summary_and_in_one_comment_or_issue(tmp_path: Path) -> None:
    *summaries, pull_request, issue = sorted(REPORTS, key=lambda c: ("gh " in c, "issue" in c))
    assert len(summaries) == 2
    for n, command in enumerate(summaries):
        assert run_step(tmp_path / f"summary-{n}", command) == ("", REPORT)
    comment = "pr,comment,7,--body-file,.onoma/metrics.md,--edit-last,--create-if-none\n"
    assert run_step(tmp_path / "pull", pull_request)[0] == comment + REPORT
    for number, words in (("", "issue,create"), ("12", "issue,comment,12")):
        notes, _ = run_step(tmp_path / f"issue{number}", issue, number)
        assert notes.startswith(words)
        assert notes.endswith(REPORT)


def test_a_release_is_the_wheel_of_a_verified_pipeline_and_the_card(tmp_path: Path) -> None:
    steps = WORKFLOWS["release"]["jobs"]["release"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands == ["make verify", "make repro", "make wheel", RELEASE]
    files = "dist/onoma-1.2.3-py3-none-any.whl,docs/model-card.md"
    options = "--verify-tag,--title,onoma 1.2.3,--generate-notes"
    notes, _ = run_step(tmp_path / "release", RELEASE)
    assert notes == f"release,create,v1.2.3,{files},{options}\n"
