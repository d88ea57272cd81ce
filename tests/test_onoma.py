"""The public API, in a checkout and from a wheel."""

import importlib.metadata
import importlib.util
import pickle
import pydoc
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from joblib import Parallel, delayed
from packaging.requirements import Requirement

import onoma
from stages.serving import bundle, torch_bundle
from tests.commands.conftest import onnx_folder  # noqa: F401
from tests.conftest import ROOT, run
from tests.serving import made

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = ["Müller", "Abe"]


def test_every_public_name_is_there_and_documented() -> None:
    assert {"load", "predict", "Prediction"} <= set(onoma.__all__)
    for name in set(onoma.__all__) - {"UNSURE"}:
        assert getattr(onoma, name).__doc__, name


def test_the_version_is_that_of_the_installed_package() -> None:
    assert onoma.__version__ == importlib.metadata.version("onoma")


def test_predict_answers_by_a_folder(onnx_folder: Path) -> None:  # noqa: F811
    assert onoma.predict(NAMES, onnx_folder) == onoma.load(onnx_folder).predict(NAMES)


def test_a_model_is_read_from_the_default_folder(
    onnx_folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundle, "DEFAULT", onnx_folder)
    assert onoma.load().model_hash == onoma.load(onnx_folder).model_hash
    assert onoma.predict(NAMES) == onoma.predict(NAMES, onnx_folder)


@pytest.mark.parametrize("torch_model", [False, True])
def test_a_model_can_be_used_in_other_processes(
    onnx_folder: Path,  # noqa: F811
    tmp_path: Path,
    torch_model: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = onnx_folder
    if torch_model:
        folder = tmp_path / "model"
        folder.mkdir()
        torch_bundle.save(folder, made.config(), made.classifier(made.config()))
    monkeypatch.chdir(folder.parent)
    model = onoma.load(folder.name, threads=2)
    pickled = pickle.dumps(model)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).predict(NAMES) == model.predict(NAMES)
    with Parallel(n_jobs=2) as parallel:
        parts = parallel(delayed(model.predict)([name]) for name in NAMES)
    assert [*parts[0], *parts[1]] == model.predict(NAMES)


def test_help_says_what_people_call() -> None:
    text = pydoc.plain(pydoc.render_doc(onoma))
    for word in (
        "onoma.load()",
        "predict_proba",
        "classes_",
        "frame(",
        "shares(",
        "errors",
        "given",
    ):
        assert word in text


@pytest.mark.slow
def test_a_wheel_answers_without_torch_and_the_pipeline(
    onnx_folder: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"  # a build writes into the folder that it builds
    subprocess.run(["git", "clone", "--quiet", ROOT, source], check=True)
    for file in ("pyproject.toml", "onoma.py", "README.md", "LICENSE"):
        (source / file).write_bytes((ROOT / file).read_bytes())
    pip = (sys.executable, "-m", "pip", "--quiet")
    site = tmp_path / "site"
    for command in (
        (*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(source)),
        (*pip, "install", "--no-deps", "--target", str(site)),
    ):
        wheels = map(str, tmp_path.glob("*.whl"))
        done = run(tmp_path, *command, *(wheels if "install" in command else ()))
        assert done.returncode == 0, done.stderr
    for package in ("anyascii", "numpy", "numpy.libs", "onnxruntime"):
        (site / package).symlink_to(package_folder(package))
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        f"import onoma; print(onoma.load({str(onnx_folder)!r}).predict({NAMES!r}))\n"
        "assert onoma.__version__ != 'unknown' and onoma.__file__.startswith(sys.path[0])\n"
    )
    # -I -S: no other packages than those linked above.
    done = run(tmp_path, sys.executable, "-I", "-S", "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(onoma.predict(NAMES, onnx_folder))


def package_folder(name: str) -> Path:
    if name == "numpy.libs":
        return package_folder("numpy").parent / name
    found = importlib.util.find_spec(name)
    assert found and found.origin
    return Path(found.origin).parent


def test_the_lowest_versions_are_the_lower_bounds_and_the_pins_satisfy_the_ranges() -> None:
    extras = PROJECT["optional-dependencies"]
    ranges = [*PROJECT["dependencies"]]
    ranges += [text for extra in ("pipeline", "s3", "ssh", "serve") for text in extras[extra]]
    for requirement in map(Requirement, ranges):
        if requirement.name == "onoma":
            continue
        lowest = versions("constraints-lowest.txt")[requirement.name.lower()]
        assert requirement.specifier.contains(lowest), requirement
        bound = next(part.version for part in requirement.specifier if part.operator == ">=")
        assert Requirement(f"x>={lowest}").specifier.contains(bound), requirement
        assert requirement.specifier.contains(versions("constraints.txt")[requirement.name.lower()])


def versions(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.lower(): version for name, version in pairs}
