"""Processes that train one model together, by torch.distributed.

Every process holds the whole model and takes its share of each step's batches; the gradients are
summed. The first process alone writes. A process of its own needs nothing of all this.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stages.core.errors import Interrupted, UserError

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # how long to wait for the others
OVER = "over"  # set in the store that the processes share once one has ended for good
FINAL = (UserError, Interrupted, OSError)  # another attempt would end the same way


class Group:
    """This process among those that train together."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        """Describe a process; alone unless `together` says otherwise.

        Args:
            rank: this process's number, from 0.
            count: how many there are.
        """
        self.rank, self.count = rank, count

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, costs: Sequence[int]) -> list[int]:
        """Places in ``costs`` that are this process's, so that all have about as much to do.

        The dearest remaining piece goes to whoever has least (Graham, Bounds on multiprocessing
        timing anomalies, 1969), so every process knows what every other does.
        """
        loads = [0] * self.count
        mine = []
        for place in sorted(range(len(costs)), key=lambda n: (-costs[n], n)):
            least = loads.index(min(loads))
            loads[least] += costs[place]
            if least == self.rank:
                mine.append(place)
        return sorted(mine)

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Sum each tensor over all processes, in place."""
        if self.count > 1:
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.count == 1:
            return flag
        flags = torch.tensor([float(flag)])
        dist.all_reduce(flags)
        return bool(flags.item())

    def from_first(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self.count > 1:
            values = [value]
            dist.broadcast_object_list(values)
            (value,) = values
        return value


class Abandoned(Exception):
    """Another process has ended for good, and says why."""


def launched() -> bool:
    """Whether this process was started by torchrun, or by our `launcher`."""
    return dist.is_torchelastic_launched()


def writes() -> bool:
    """Whether this process is the first of those that torchrun started, or alone."""
    return int(os.environ.get("RANK", 0)) == 0


def local_rank() -> int | None:
    """This process's number on its machine, from 0; None if it was not started by torchrun."""
    return int(os.environ["LOCAL_RANK"]) if launched() else None


@contextmanager
def together(device: torch.device) -> Iterator[Group]:
    """Meet the others that torchrun started; a process of its own is alone.

    Raises:
        Abandoned: one of the others ended with an error that another attempt would not mend.
    """
    if not launched():
        yield Group()
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if _keeps_store():
        number = os.environ["TORCHELASTIC_RESTART_COUNT"]
        attempt = dist.PrefixStore(number, _store())  # type: ignore[attr-defined]
        rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        dist.init_process_group(
            backend, store=attempt, rank=rank, world_size=count, timeout=PATIENCE
        )
    else:
        dist.init_process_group(backend, timeout=PATIENCE)
    store = _store()
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
        dist.barrier()  # leave together: torchrun takes an early end for a lost machine
    except FINAL:
        store.set(OVER, "")
        raise
    except RuntimeError as error:  # as a lost connection is told
        if store.check([OVER]):
            raise Abandoned from error
        raise
    finally:
        dist.destroy_process_group()


def _store() -> dist.TCPStore:  # type: ignore[name-defined]
    """The store by which the processes met."""
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(*address, wait_for_workers=False)  # type: ignore[attr-defined]


def _keeps_store() -> bool:
    """Whether torchrun uses one store for all attempts, and every process knows which this is.

    There the addresses of an earlier attempt's processes still stand, and whoever reads one
    before it is written anew waits for the dead. Agents of several machines count attempts each
    on its own; they have a store per attempt under ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1``.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return shared and os.environ.get("GROUP_WORLD_SIZE") == "1"
