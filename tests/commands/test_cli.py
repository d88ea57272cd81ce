"""The console script: one command at a time, wrong usage is 2, faults are 1 and one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from stages.commands import cli
from tests.conftest import ROOT


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"], ["predict", "--nonsense"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("usage: onoma")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(command in text for command in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: onoma {command}" in capsys.readouterr().out


def test_a_first_answer_waits_for_no_heavy_import(onnx_folder: Path) -> None:
    program = [sys.executable, "-X", "importtime", "-m", "stages.commands.cli"]
    done = subprocess.run(
        [*program, "predict", "Abe", "--model", str(onnx_folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert {"numpy", "onnxruntime"} <= imported
    heavy = {"torch", "pydantic", "pandas", "pyarrow", "sklearn", "dvc", "rich", "onnx", "fastapi"}
    assert not imported & heavy


def test_closed_pipe_is_no_fault(onnx_folder: Path) -> None:
    command = f"{sys.executable} -m stages.commands.cli predict --model {onnx_folder} --json"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; yes Abe | head -n 20000 | {command} | head -n 1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("\n") == 1
    assert "Error" not in done.stderr and "onoma" not in done.stderr
