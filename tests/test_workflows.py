"""The workflows on GitHub run what people and tests run here, and nothing else."""

import subprocess

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

COMMANDS = [
    step["run"]
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
    for job in YAML(typ="safe").load(path.read_text(encoding="utf-8"))["jobs"].values()
    for step in job["steps"]
    if "run" in step
]


def test_there_is_something_to_run() -> None:
    assert {"make test", "make repro", "make retrain"} <= set(COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("cml comment ")])
def test_a_step_is_a_target_of_the_makefile(command: str) -> None:
    program, target, *_ = command.split()
    assert program == "make"
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
