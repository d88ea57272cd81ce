"""The console script: one command at a time, without what it does not need."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import onoma
from stages.commands import cli
from stages.serving import bundle
from stages.serving.bundle import load
from tests.conftest import ROOT, run


def test_a_first_answer_waits_for_no_heavy_import(onnx_folder: Path) -> None:
    program = (sys.executable, "-X", "importtime", "-m", "stages.commands.cli", "predict")
    done = run(ROOT, *program, "Abe", "--model", str(onnx_folder))
    assert done.returncode == 0
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert {"numpy", "onnxruntime"} <= imported
    heavy = {"torch", "pydantic", "pandas", "pyarrow", "scipy", "sklearn", "dvc", "rich", "onnx"}
    assert not imported & (heavy | {"fastapi", "safetensors", "tqdm"})


WITHOUT_EXTRAS = """
import sys
from stages.core.errors import EXTRAS
sys.modules.update(dict.fromkeys(EXTRAS))  # importing them fails
from stages.commands import cli
for arguments in {0}:
    try:
        print("status", cli.main(arguments))
    except SystemExit as stop:
        print("status", stop.code)
"""


def without_extras(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Run commands where nothing but the wheel's own dependencies is installed."""
    return run(ROOT, sys.executable, "-c", WITHOUT_EXTRAS.format(commands))


def test_help_lists_every_command_and_needs_no_extra() -> None:
    done = without_extras(["--help"], *([command, "--help"] for command in cli.COMMANDS))
    listed, *others = done.stdout.split("status 0\n")
    assert all(about[:30] in listed for about in cli.COMMANDS.values())
    assert len(others) == len(cli.COMMANDS) + 1
    assert done.stderr == ""


def test_a_command_says_which_extra_it_needs(onnx_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name\nAbe\n")
    (tmp_path / "model.safetensors").touch()
    file, model = str(tmp_path / "names.csv"), ["--model", str(onnx_folder)]
    done = without_extras(
        ["shares", file, *model],
        ["predict", "--input", file, "--output", file + ".csv", *model],
        ["predict", "Abe", "--model", str(tmp_path)],
        ["card"],
        ["retrain"],
        ["serve", *model],
        ["predict", "Abe", *model],
        ["recipe", "fast"],
    )
    statuses = [line for line in done.stdout.splitlines() if line.startswith("status")]
    assert statuses == ["status 1"] * 6 + ["status 0"] * 2
    for line, extra in zip(done.stderr.splitlines(), ["pipeline"] * 5 + ["serve"], strict=True):
        assert re.fullmatch(rf"onoma: needs \w+: pip install 'onoma\[{extra}\]'", line)


def test_the_version_says_which_model_answers(
    onnx_folder: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (onnx_folder, tmp_path):
        monkeypatch.setattr(bundle, "DEFAULT", folder)
        with pytest.raises(SystemExit, match="0"):
            cli.main(["--version"])
    version, model, corpus, countries, again, no_model = capsys.readouterr().out.splitlines()
    assert version == again == f"onoma {onoma.__version__}"
    assert load(onnx_folder).model_hash in model and "made-up names" in corpus
    assert countries == "4 countries: Austria, Belgium, Chad, Denmark"
    assert no_model.startswith(f"no model: {tmp_path}")


@pytest.mark.parametrize(
    ("shell", "lines"),
    [
        ("yes Abe | head -n 20000 | {onoma} predict --json {model} | head -n 1", 1),
        ("{onoma} predict Abe {model} >&-", 0),
        ("{onoma} predict Abe {model} <&- >&- 2>&-", 0),
    ],
)
def test_closed_pipes_and_files_are_no_fault(onnx_folder: Path, shell: str, lines: int) -> None:
    program = f"{sys.executable} -m stages.commands.cli"
    script = "set -o pipefail; " + shell.format(onoma=program, model=f"--model {onnx_folder}")
    done = run(ROOT, "bash", "-c", script)
    assert done.stdout.count("\n") == lines
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # of what feeds the pipe
