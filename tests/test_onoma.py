"""The public API, in a checkout and from a wheel."""

import importlib.metadata
import pickle
import pydoc
import tomllib
from pathlib import Path

import pytest
from joblib import Parallel, delayed
from packaging.requirements import Requirement

import onoma
from stages.serving import bundle, torch_bundle
from tests.commands.conftest import onnx_folder as onnx_folder
from tests.conftest import ROOT
from tests.serving import made

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = ["Müller", "Abe"]


def test_every_public_name_is_there_and_documented() -> None:
    assert {"load", "predict", "Prediction"} <= set(onoma.__all__)
    for name in set(onoma.__all__) - {"UNSURE"}:
        assert getattr(onoma, name).__doc__, name


def test_the_version_is_that_of_the_installed_package() -> None:
    assert onoma.__version__ == importlib.metadata.version("onoma")


def test_a_model_is_read_from_the_default_folder(
    onnx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "DEFAULT", onnx_folder)
    assert onoma.load().model_hash == onoma.load(onnx_folder).model_hash
    answers = onoma.load(onnx_folder).predict(NAMES)
    assert onoma.predict(NAMES) == onoma.predict(NAMES, onnx_folder) == answers


@pytest.mark.parametrize("torch_model", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_model_can_be_used_in_other_processes(
    onnx_folder: Path, tmp_path: Path, torch_model: bool, monkeypatch: pytest.MonkeyPatch
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
    for word in ("onoma.load()", "predict_proba", "classes_", "frame(", "shares(", "given"):
        assert word in text


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
