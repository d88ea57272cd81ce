"""The public API, in a checkout and from a wheel."""

import importlib.metadata
import pickle
import pydoc
import re
import tomllib
from pathlib import Path

import pytest
from joblib import Parallel, delayed
from packaging.requirements import Requirement
from packaging.version import Version

import onoma
from stages.serving import bundle
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = ["Müller", "Abe"]


def test_every_public_name_is_documented_and_help_says_what_people_call() -> None:
    for name in set(onoma.__all__) - {"UNSURE"}:
        assert getattr(onoma, name).__doc__, name
    text = pydoc.plain(pydoc.render_doc(onoma))
    for word in ("onoma.load()", "predict_proba", "classes_", "frame(", "shares(", "given"):
        assert word in text


def test_the_version_is_that_of_the_installed_package() -> None:
    assert onoma.__version__ == importlib.metadata.version("onoma")


def test_a_model_is_read_from_the_default_folder(
    onnx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "DEFAULT", onnx_folder)
    assert onoma.load().model_hash == onoma.load(onnx_folder).model_hash
    answers = onoma.load(onnx_folder).predict(NAMES)
    assert onoma.predict(NAMES) == onoma.predict(NAMES, onnx_folder) == answers


def test_a_model_can_be_used_in_other_processes(
    onnx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(onnx_folder)
    model = onoma.load(".", threads=2)
    pickled = pickle.dumps(model)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).predict(NAMES) == model.predict(NAMES)
    with Parallel(n_jobs=2) as parallel:
        parts = parallel(delayed(model.predict)([name]) for name in NAMES)
    assert [*parts[0], *parts[1]] == model.predict(NAMES)


def test_the_lowest_versions_are_the_lower_bounds_and_the_pins_satisfy_the_ranges() -> None:
    extras = PROJECT["optional-dependencies"]
    ranges = [*PROJECT["dependencies"]]
    ranges += [text for extra in ("pipeline", "s3", "ssh", "serve") for text in extras[extra]]
    lowest, pins = versions("constraints-lowest.txt"), versions("constraints.txt")
    for requirement in map(Requirement, ranges):
        if (name := requirement.name.lower()) != "onoma":
            assert requirement.specifier.contains(lowest[name]), requirement
            assert requirement.specifier.contains(pins[name]), requirement
            bound = next(part.version for part in requirement.specifier if part.operator == ">=")
            assert Version(lowest[name]) <= Version(bound), requirement


def versions(file: str) -> dict[str, str]:
    pins = re.findall(r"(?m)^([\w.-]+)==(\S+)", (ROOT / file).read_text(encoding="utf-8"))
    return {name.lower(): version for name, version in pins}
