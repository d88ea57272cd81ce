"""Several processes that train one model together, started by torchrun.

Each process holds the whole model and computes a stride of every batch; gradients are summed.
"""

import logging
import os
import platform
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad

from stages.core.errors import EXPECTED, Terminated, UserError
from stages.core.params import TrainParams
from stages.core.runtime import make_reproducible, select_device, select_precision

TIMEOUT = timedelta(minutes=30)  # of a collective operation
AGAIN = "run again to resume"
GONE = f"another training process has ended; {AGAIN}"
T = TypeVar("T")


def stop(number: int) -> NoReturn:
    """Raise the exception of the signal ``number``, which was deferred, with the remedy."""
    interrupt = Terminated if number == signal.SIGTERM else KeyboardInterrupt
    raise interrupt(f"training stopped by {signal.Signals(number).name}; {AGAIN}")


@dataclass(frozen=True)
class Runtime:
    """Device, precision and process group of a training.

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
        local_rank = int(os.environ["LOCAL_RANK"]) if world_size > 1 else None
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
            with _connection():
                for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                    work.wait()

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum each parameter's gradient over all processes."""
        if self.world_size == 1:
            return
        dense = []
        for parameter in parameters:
            assert parameter.grad is not None
            if parameter.grad.is_sparse:
                with _connection():
                    parameter.grad = self._sum_of_rows(parameter.grad.coalesce())
            else:
                dense.append(parameter.grad)
        self.all_reduce(dense)

    def _sum_of_rows(self, gradient: Tensor) -> Tensor:
        """Sum over all processes of a sparse gradient, whose rows differ between them."""
        longest = torch.tensor(gradient._nnz())
        dist.all_reduce(longest, dist.ReduceOp.MAX)
        missing = int(longest) - gradient._nnz()  # these rows are zeros, added to row 0
        rows = self._gather(pad(gradient.indices(), (0, missing))[0])
        values = self._gather(pad(gradient.values(), (0, 0, 0, missing)))
        return torch.sparse_coo_tensor(rows[None], values, gradient.shape).coalesce()

    def _gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, one after the other, in order of rank."""
        gathered = tensor.new_empty((self.world_size * len(tensor), *tensor.shape[1:]))
        dist.all_gather_single(gathered, tensor)
        return gathered

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


@contextmanager
def _connection() -> Iterator[None]:
    """Within the context the loss of a connection is an expected error."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(GONE) from error


@contextmanager
def process_group(params: TrainParams) -> Iterator[Runtime]:
    """Join the processes that torchrun started, if it did, and give this process's runtime.

    Of several processes rank 0 alone prints, and torchrun tells the first error.

    Raises:
        UserError: the device is not on this machine.
    """
    if not dist.is_torchelastic_launched():
        yield Runtime.create(params)
        return
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if rank > 0:
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        runtime = Runtime.create(params, rank, world_size)
        backend = "cpu:gloo,cuda:nccl" if runtime.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT)
        yield runtime
        dist.barrier()  # torchrun takes a process that leaves early for a lost machine
    except (*EXPECTED, KeyboardInterrupt) as error:
        get_error_handler().record_exception(error)
        sys.exit(1)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def launch(module: str, params: TrainParams) -> None:
    """Run ``python -m module`` in ``params.processes`` processes on this machine, by torchrun.

    Raises:
        UserError: one of them failed; the message is its own.
        KeyboardInterrupt: training was stopped, by Ctrl-C or SIGTERM.
    """
    # These take long to import, and one process does not need them.
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable()  # what torchrun says of signals and failures is said below
    os.environ["OMP_NUM_THREADS"] = str(params.threads)
    try:
        torchrun(["--standalone", f"--nproc-per-node={params.processes}", "-m", module])
    except SignalException as received:
        stop(received.sigval)
    except ChildFailedError as error:
        reasons = []
        for failure in error.failures.values():
            if isinstance(failure.message, dict):  # "UserError: what it said"
                reasons.append(failure.message["message"].partition(": ")[2])
            else:
                reasons.append(f"a training process has died: {failure.message}; {AGAIN}")
        raise UserError(min(reasons, key=lambda reason: reason == GONE)) from None
