"""Pinned arithmetic: what every stage's process sets before it imports what computes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.arithmetic import AVX2, PINS, runs_a_stage
from tests.conftest import ROOT, run, set_params

# Python imports this module at its start; in a process that uses the project it reports at its end.
OBSERVER = """
import atexit, json, os, sys

def report():
    if "stages" not in sys.modules:
        return
    torch = sys.modules.get("torch")
    capability = torch.backends.cpu.get_cpu_capability() if torch else None
    with open("seen.json", "w") as file:
        json.dump({"environment": dict(os.environ), "capability": capability}, file)

atexit.register(report)
"""


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "sitecustomize.py").write_text(OBSERVER)
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, **environment, "PYTHONPATH": path}
    return run(folder, sys.executable, *arguments, env=environment)


WRONG = {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Prescott"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arithmetic", "pins", "capability"),
    [("avx2", AVX2, "AVX2"), ("native", WRONG, "DEFAULT")],
)
def test_a_stage_s_process_has_the_pins_whatever_the_environment_says_and_native_none(
    folder: Path, arithmetic: str, pins: dict[str, str], capability: str
) -> None:
    set_params(folder, train__arithmetic=arithmetic)
    done = start(folder, "-m", "stages.hello", **WRONG)
    assert done.returncode == 0, done.stderr
    seen = json.loads((folder / "seen.json").read_text())
    assert seen["environment"].items() >= pins.items()
    assert seen["environment"].get("MKL_CBWR") == {**os.environ, **pins}.get("MKL_CBWR")
    assert seen["capability"].replace("NO AVX", "DEFAULT") == capability


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        ("python -m stages.hello", True),
        ("python -u -m stages.train", True),  # a worker of torchrun
        ("python -m torch.distributed.run --nproc-per-node=2 -m stages.train", False),
        ("python -m pytest stages.train", False),
        ("python train.py", False),
    ],
)
def test_a_process_of_a_stage_is_known_by_its_command(
    monkeypatch: pytest.MonkeyPatch, command: str, stage: bool
) -> None:
    monkeypatch.setattr(sys, "orig_argv", command.split())
    assert runs_a_stage() == stage


# MKL asks these functions whether the processor is Intel's; here they say so on any processor.
OTHER_MAKER = "int mkl_serv_intel_cpu(void){return 1;} int mkl_serv_intel_cpu_true(void){return 1;}"
PRODUCTS = """
import hashlib, torch
torch.manual_seed(0)
pairs = [(torch.randn(m, k), torch.randn(k, n)) for m, k, n in ((256, 64, 384), (37, 128, 384))]
print(hashlib.sha256(b"".join((a @ b).numpy().tobytes() for a, b in pairs)).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_portable_products_are_the_same_bytes_with_the_kernels_for_another_maker(
    tmp_path: Path,
) -> None:
    library = tmp_path / "other.so"
    compiler = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(compiler, input=OTHER_MAKER, text=True, check=True)
    digests = [
        start(tmp_path, "-c", PRODUCTS, **PINS["portable"], **preload).stdout
        for preload in ({}, {"LD_PRELOAD": str(library)})
    ]
    assert digests[0] == digests[1] != ""


def test_a_library_that_is_loaded_before_the_pins_is_a_bug(folder: Path) -> None:
    code = "import numpy, pathlib, stages.core.arithmetic as a; a.pin(pathlib.Path('params.yaml'))"
    done = start(folder, "-c", code)
    assert "RuntimeError: numpy loaded before the arithmetic was pinned" in done.stderr


def test_importing_a_module_pins_nothing(folder: Path) -> None:
    start(folder, "-c", "import stages.core.params", ATEN_CPU_CAPABILITY="avx512")
    seen = json.loads((folder / "seen.json").read_text())
    assert seen["environment"]["ATEN_CPU_CAPABILITY"] == "avx512"
