"""Where a stage computes: the device, the precision, and the processes that train together."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stages.core.errors import UserError
from stages.core.params import TrainParams

T = TypeVar("T")


@dataclass(frozen=True)
class Runtime:
    """Device, precision and process group of a training; made once and handed down.

    Attributes:
        device: where the model is.
        precision: the data type of matrix products, float32 or bfloat16.
        rank: number of this process, from 0; rank 0 writes the results.
        world_size: how many processes train together.
    """

    device: torch.device
    precision: torch.dtype = torch.float32
    rank: int = 0
    world_size: int = 1

    @classmethod
    def create(cls, params: TrainParams, rank: int = 0, world_size: int = 1) -> "Runtime":
        """Choose device and precision as ``params`` says, and make results reproducible.

        Raises:
            UserError: the device is not on this machine.
        """
        local_rank = int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else None
        device = select_device(params.device, local_rank)
        make_reproducible(params.seed, params.threads)
        precision = select_precision(params.precision, device, params.arithmetic)
        return cls(device, precision, rank, world_size)

    def autocast(self) -> torch.autocast:
        """The context in which the model computes in `precision`."""
        return torch.autocast(
            self.device.type, self.precision, enabled=self.precision != torch.float32
        )

    def provenance(self) -> dict[str, str | int]:
        """What a result was computed with and on: for people, not for programs."""
        return {
            "torch": torch.__version__,
            "device": str(self.device),
            "precision": str(self.precision).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
            "capability": torch.backends.cpu.get_cpu_capability(),
        }

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Sum each tensor over all processes, in place."""
        if self.world_size > 1:
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process."""
        total = torch.tensor([float(flag)])
        self.all_reduce([total])
        return bool(total.item())

    def broadcast(self, value: T) -> T:
        """The value that rank 0 passes, in every process."""
        if self.world_size > 1:
            values = [value]
            dist.broadcast_object_list(values)
            (value,) = values
        return value


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
        available = ["cpu"] + [f"cuda:{n}" for n in range(cuda)] + ["mps"] * mps
        raise UserError(
            f"train.device: {wanted} is not on this machine; "
            f"use auto or one of {', '.join(available)} in params.yaml"
        )
    return device


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
    torch.manual_seed(seed)
