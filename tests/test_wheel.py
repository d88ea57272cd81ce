"""The wheel: a package `onoma` with a model in it, which answers without torch, DVC and network."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import onoma
from tests.conftest import ROOT, run

NAMES = ["Müller", "Abe"]
PARTS = ("pyproject.toml", "setup.py", "onoma.py", "stages", "README.md", "LICENSE")
PACKAGES = ("anyascii", "numpy", "numpy.libs", "onnxruntime")  # all that answers need

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(onnx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the installed wheel, and nothing else but what answers need."""
    folder = tmp_path_factory.mktemp("wheel")
    source, site = folder / "source", folder / "site"  # a build writes into the folder it builds
    source.mkdir()
    run(ROOT, "cp", "--recursive", *PARTS, str(source))
    shutil.copytree(onnx_folder, source / "data/onnx")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    pip = (sys.executable, "-m", "pip", "--quiet")
    done = run(folder, *pip, *build)
    assert done.returncode == 0, done.stderr
    wheel = next(folder.glob("*.whl"))
    done = run(folder, *pip, "install", "--no-deps", "--target", str(site), str(wheel))
    assert done.returncode == 0, done.stderr
    packages = Path(np.__file__).parents[1]
    for name in PACKAGES:
        (site / name).symlink_to(packages / name)
    return site


def bare(site: Path, program: str) -> str:
    """The output of a program that finds the packages of ``site`` only, in an empty folder."""
    program = f"import sys; sys.path.insert(0, {str(site)!r})\n{program}"
    done = run(site.parent / "source/data", sys.executable, "-I", "-S", "-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_one_package_called_onoma(site: Path) -> None:
    own = {path.name for path in site.iterdir()} - {*PACKAGES, "bin"}
    assert {name for name in own if not name.endswith(".dist-info")} == {"onoma"}
    for file in ("py.typed", "serving/page.html", "commands/templates/card.md"):
        assert (site / "onoma" / file).is_file(), file
    for module in site.glob("onoma/**/*.py"):
        assert not re.search(r"(?m)^\s*(from|import) stages", module.read_text("utf-8")), module


def test_it_its_program_and_its_module_answer_by_its_own_model(
    site: Path, onnx_folder: Path
) -> None:
    program = (
        f"import onoma; print(onoma.load().predict({NAMES!r}))\n"
        "assert onoma.__version__ != 'unknown' and onoma.__file__.startswith(sys.path[0])\n"
        "assert not {'torch', 'dvc', 'pydantic'} & set(sys.modules)"
    )
    assert bare(site, program).strip() == str(onoma.load(onnx_folder).predict(NAMES))
    entry = next(site.glob("onoma-*.dist-info/entry_points.txt")).read_text("utf-8")
    assert entry.split() == ["[console_scripts]", "onoma", "=", "onoma.commands.cli:main"]
    for call in (
        "from onoma.commands.cli import main; main()",
        "import runpy; runpy.run_module('onoma', run_name='__main__')",
    ):
        ask = "sys.argv[1:] = ['predict', 'Abe']"
        assert "Abe" in bare(site, f"{ask}\ntry:\n {call}\nexcept SystemExit: pass")


def test_make_refuses_a_model_that_the_committed_lock_does_not_describe(
    project: Path,
) -> None:
    for file in ("dvc.lock", "data/onnx/config.json"):
        path = project / file
        text = path.read_text("utf-8")
        path.unlink()  # a link into DVC's cache, perhaps
        path.write_text(f"{text} \n", "utf-8")
        done = run(project, "make", "--no-print-directory", "wheel")
        assert done.returncode == 2 and "run make repro and commit" in done.stdout, file
        path.write_text(text, "utf-8")
