"""The workflows on GitHub run what people and tests run here, and nothing else."""

import subprocess
import tomllib

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


@pytest.mark.parametrize("command", TARGETS)
def test_a_step_is_a_target_of_the_makefile(command: str) -> None:
    target = command.split()[1]
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_tests_run_on_every_python_that_the_package_claims() -> None:
    assert {"make test", "make verify", "make retrain", "make test-versions"} <= set(TARGETS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    claimed = [text.split(" :: ")[-1] for text in project["classifiers"] if ":: 3." in text]
    assert WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"] == claimed


def test_a_workflow_has_no_right_that_a_job_does_not_ask_for() -> None:
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {}
        assert all(job["permissions"]["contents"] for job in workflow["jobs"].values())
