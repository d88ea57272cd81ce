"""Where the products are computed, and in which precision."""

import os

import torch

from stages.core.errors import UserError


def select_device(wanted: str, local_rank: int | None = None) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that is there.

    Args:
        wanted: as in ``train.device``.
        local_rank: this process's number among several on the machine: each has a CUDA device
            of its own, unless one is named.

    Raises:
        UserError: the device is not on this machine; the message names what is.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if local_rank is not None and (wanted == "cuda" or (wanted == "auto" and cuda)):
        wanted = f"cuda:{local_rank}"
    if wanted == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    device = torch.device(wanted)
    present = (
        device.type == "cpu"
        or (device.type == "mps" and mps)
        or (device.type == "cuda" and (device.index or 0) < cuda)
    )
    if not present:
        here = ["cpu"] + [f"cuda:{n}" for n in range(cuda)] + ["mps"] * mps
        raise UserError(
            f"train.device: {wanted} is not on this machine; "
            f"use auto or one of {', '.join(here)} in params.yaml"
        )
    return device


def select_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Turn ``auto``, ``float32`` or ``bfloat16`` into the type that products are computed in.

    ``auto`` takes bfloat16 only where it is the faster one: on CUDA devices that have it, and on
    CPUs with AMX. CPUs whose bfloat16 is AVX512's multiply it at half the rate of float32 (see
    docs/performance.md).
    """
    if wanted == "auto":
        faster = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cpu":
            faster = torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if faster else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]


def make_reproducible(seed: int, threads: int) -> None:
    """Seed torch and fix what else decides the last bit of a result, for the whole process."""
    # cuBLAS reads this when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # As `use_deterministic_algorithms(True)`, which also imports the compiler: seconds.
    torch.set_deterministic_debug_mode("error")
    # A help in debugging, and slow; set by name, as torch types its module without it.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    torch.manual_seed(seed)


def seed_generator(device: torch.device, seed: int) -> None:
    """Seed the generator that dropout on ``device`` draws from, and no other.

    `torch.manual_seed` seeds those of all devices, which takes as long as a small batch.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
