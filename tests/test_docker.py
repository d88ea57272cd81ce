"""The steps of the Dockerfile, run in a virtual environment, as docker is not everywhere."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pathspec
import pytest

from tests.conftest import ROOT, run, succeed

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and line[0] != "#"]


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def context() -> list[str]:
    """The files of the checkout that .dockerignore does not leave out."""
    # As docker does, and unlike git, the last pattern that matches decides, also below a folder.
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = pathspec.PathSpec.from_lines("gitignore", patterns)
    listed = run(ROOT, "git", "ls-files", "-z", "-co", "--exclude-standard").stdout.split("\0")
    return [file for file in listed if file and not ignored.match_file(file)]


def test_the_image_is_slim_and_not_run_by_root_and_holds_neither_data_nor_history() -> None:
    assert [image.endswith("-slim") for image in arguments("FROM")] == [True]
    assert int(arguments("USER")[-1].split(":")[0]) > 0  # Kubernetes can check a number only
    assert STEPS[-1][0] == "CMD"
    files = set(context())
    assert {"onoma.py", "stages/serving/page.html", "constraints.txt"} <= files
    assert not {file for file in files if file.startswith((".", "tests/", "data/raw", "metrics/"))}


@pytest.mark.slow(seconds=20)
def test_its_steps_install_a_server_that_answers_without_torch(
    onnx_folder: Path, tmp_path: Path
) -> None:
    source, image, venv = tmp_path / "context", tmp_path / "app", tmp_path / "venv"
    for file in context():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    shutil.copytree(onnx_folder, source / "data/onnx", dirs_exist_ok=True)
    image.mkdir()
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    environment = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
    environment |= {"PATH": f"{venv}/bin{os.pathsep}{os.environ['PATH']}"}
    for copied in arguments("COPY"):
        *files, target = copied.split()
        for file in files:
            copy = shutil.copytree if (source / file).is_dir() else shutil.copy
            copy(source / file, image / target)
    for script in arguments("RUN"):
        succeed(image, "sh", "-c", script, env=environment)
    assert run(image, "python", "-c", "import torch", env=environment).returncode == 1

    program, *options = json.loads(arguments("CMD")[0])
    command = [str(venv / "bin" / program), *options, "--port", "0"]
    with subprocess.Popen(
        command, cwd=image, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            port = server.stdout.readline().split()[1].rpartition(":")[2]
            check = json.loads(arguments("HEALTHCHECK")[0].removeprefix("CMD "))
            check[-1] = check[-1].replace(":8000/", f":{port}/")
            assert run(image, *check, env=environment).returncode == 0
            request = urllib.request.Request(
                f"http://localhost:{port}/shares",
                b'{"names": ["Abe"]}',
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=10) as response:
                assert json.load(response)["names"] == 1
        finally:
            server.terminate()
            server.wait(10)
