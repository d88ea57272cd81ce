"""The steps of the Dockerfile, run in a virtual environment, as docker is not everywhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pathspec
import pytest

from tests.commands.conftest import onnx_folder  # noqa: F401
from tests.conftest import ROOT, run


def steps() -> list[tuple[str, str]]:
    """The instructions and their arguments."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def arguments(instruction: str) -> list[str]:
    return [found for name, found in steps() if name == instruction]


def test_the_image_is_slim_not_run_by_root_and_has_a_health_check() -> None:
    assert [image.endswith("-slim") for image in arguments("FROM")] == [True]
    user = arguments("USER")[-1].split(":")[0]
    assert user.isdigit() and int(user) > 0  # Kubernetes can check a number only
    assert "/healthz" in arguments("HEALTHCHECK")[0]
    assert [name for name, _ in steps()][-1] == "CMD"


def test_the_context_has_neither_data_nor_history() -> None:
    files = set(context())
    assert {"onoma.py", "stages/commands/page.html", "constraints.txt"} <= files
    assert not {file for file in files if file.startswith((".", "tests/", "data/raw", "metrics/"))}


def context() -> list[str]:
    """The files of the checkout that .dockerignore does not leave out."""
    # As docker does, and unlike git, the last pattern that matches decides, also below a folder.
    ignored = pathspec.PathSpec.from_lines(
        "gitignore", (ROOT / ".dockerignore").read_text().splitlines()
    )
    listed = run(ROOT, "git", "ls-files", "-z", "-co", "--exclude-standard").stdout.split("\0")
    return [file for file in listed if file and not ignored.match_file(file)]


@pytest.mark.slow
def test_its_steps_install_a_server_that_answers_without_torch(
    onnx_folder: Path,  # noqa: F811
    tmp_path: Path,
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
    for name, text in steps():
        if name == "COPY":
            *copied, target = text.split()
            for file in copied:
                if (source / file).is_dir():
                    shutil.copytree(source / file, image / target)
                else:
                    shutil.copy(source / file, image / target)
        elif name == "RUN":
            done = run(image, "sh", "-c", text, env=environment)
            assert done.returncode == 0, done.stdout + done.stderr
    command = [*json.loads(arguments("CMD")[0]), "--port", "0"]
    with subprocess.Popen(
        [venv / "bin" / command[0], *command[1:]],
        cwd=image,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
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
            server.terminate()
            assert server.wait(10) == -signal.SIGTERM
        finally:
            server.kill()
    assert run(image, "python", "-c", "import torch", env=environment).returncode == 1
