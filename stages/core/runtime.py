"""Where a stage computes: the device, the data type of its matrix products, the random seed."""

import os

import torch

from stages.core.errors import UserError


def select_device(wanted: str, local_rank: int | None = None) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device of this machine.

    Args:
        wanted: the value of ``train.device``.
        local_rank: number of this process among several on the machine. Each of them gets a CUDA
            device of its own, unless ``wanted`` names one.

    Raises:
        UserError: the device is not on this machine; the message lists those that are.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    available = ["cpu", *(f"cuda:{number}" for number in range(cuda))]
    available += ["mps"] * torch.backends.mps.is_available()
    if wanted == "auto":
        wanted = "cuda" if cuda else available[-1]
    if wanted == "cuda" and local_rank is not None:
        wanted = f"cuda:{local_rank}"
    if wanted not in available and not (wanted == "cuda" and cuda):
        raise UserError(
            f"train.device: {wanted} is not on this machine; "
            f"use auto or one of {', '.join(available)} in params.yaml"
        )
    return torch.device(wanted)


def select_precision(wanted: str, device: torch.device, arithmetic: str) -> torch.dtype:
    """Turn ``auto``, ``float32`` or ``bfloat16`` into a data type.

    ``auto`` is bfloat16 only where that is faster: on CUDA devices that support it, and with native
    arithmetic on CPUs with AMX. Other arithmetic is float32 on every CPU. CPUs with AVX512-BF16
    alone multiply bfloat16 at half the rate of float32 (see docs/performance.md).
    """
    if wanted == "auto":
        faster = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cpu":
            faster = arithmetic == "native" and torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if faster else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]


def make_reproducible(seed: int, threads: int) -> None:
    """Seed torch and select deterministic algorithms, for the whole process."""
    # cuBLAS reads this when its first handle is created.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # The same as `use_deterministic_algorithms(True)`, which also imports the compiler: seconds.
    torch.set_deterministic_debug_mode("error")
    # A debugging aid, and slow. torch's type stubs do not know the attribute.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    # Another aid; torch warns those who do not choose.
    torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]
    torch.manual_seed(seed)
