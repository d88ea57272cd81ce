"""CPU arithmetic that gives the same bytes on other x86-64 processors.

Torch, MKL, oneDNN, OpenBLAS and NumPy choose their kernels by processor when they are loaded.
Kernels differ in the order of additions, hence in the last digits of a result, and training
amplifies these differences. A stage's process therefore fixes the choice before it imports them.
"""

import os
import sys
from pathlib import Path

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "MKL_CBWR": "AVX2,STRICT",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",  # in NumPy and SciPy
    "OPENBLAS_NUM_THREADS": "1",  # how a product is divided among threads changes its last digits
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
PINS: dict[str, dict[str, str]] = {  # by `train.arithmetic`
    # MKL has kernels for Intel's processors and others for the rest, equal in one mode only.
    # docs/performance.md says what it costs.
    "portable": AVX2 | {"MKL_CBWR": "COMPATIBLE"},
    "avx2": AVX2,
    "native": {},
}
DEFAULT = "avx2"


def pin(params: Path) -> None:
    """Set the environment for ``train.arithmetic`` of ``params``; `DEFAULT` if it is unreadable.

    Raises:
        RuntimeError: a library that reads the environment is loaded already.
    """
    from stages.core.yaml_file import read_yaml  # here: `import onoma` pins nothing

    try:
        pins = PINS[read_yaml(params)["train"]["arithmetic"]]
    except Exception:  # the stage itself reports what is wrong with the file
        pins = PINS[DEFAULT]
    if loaded := {"numpy", "torch"} & sys.modules.keys():
        raise RuntimeError(f"{', '.join(sorted(loaded))} loaded before the arithmetic was pinned")
    os.environ.update(pins)


def runs_a_stage() -> bool:
    """Whether this process was started as ``python -m stages.MODULE``."""
    if "-m" not in sys.orig_argv:
        return False
    return sys.orig_argv[sys.orig_argv.index("-m") + 1].startswith("stages.")
