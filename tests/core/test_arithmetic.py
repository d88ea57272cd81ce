"""Pinned arithmetic: what every stage's process sets before it imports what computes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.arithmetic import AVX2, PINS
from tests.conftest import ROOT, set_params

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "sitecustomize.py").write_text(OBSERVER)
    return tmp_path


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]


@pytest.mark.slow
@pytest.mark.parametrize("torchrun", [[], TORCHRUN], ids=["alone", "torchrun"])
def test_a_stage_s_process_has_the_pins_whatever_the_environment_says(
    folder: Path, torchrun: list[str]
) -> None:
    wrong = {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Prescott"}
    done = start(folder, *torchrun, "-m", "stages.hello", **wrong)
    assert done.returncode == 0, done.stderr
    seen = json.loads((folder / "seen.json").read_text())
    assert seen["environment"].items() >= AVX2.items()
    assert seen["capability"] == "AVX2"


@pytest.mark.slow
def test_native_arithmetic_leaves_the_environment_alone(folder: Path) -> None:
    set_params(folder, train__arithmetic="native")
    start(folder, "-m", "stages.hello", ATEN_CPU_CAPABILITY="default")
    seen = json.loads((folder / "seen.json").read_text())
    assert seen["capability"] in ("DEFAULT", "NO AVX")
    assert seen["environment"].get("MKL_CBWR") == os.environ.get("MKL_CBWR")


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
