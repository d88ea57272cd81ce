"""Running a trained classifier over a split, in bounded memory."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.corpus.dataset import Names
from stages.training.batches import Batch, evaluation_order, load_batches
from stages.training.distributed import Group


@torch.no_grad()
def classify(
    model: nn.Module,
    names: Names,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype = torch.float32,
    group: Group | None = None,
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield batches of names of one length with their (batch, countries) float32 logits.

    Given ``group``, only this process's share of them.
    """
    model.eval()
    order = evaluation_order(names, batch_size)
    if group:
        order = order[group.rank :: group.count]
    for batch in load_batches(names, order, device):
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = model(batch.codes)
        yield batch, logits.float()


def all_logits(
    model: nn.Module, names: Names, countries: int, batch_size: int, device: torch.device
) -> NDArray[np.float64]:
    """Float32 logits of a whole split in its order, as (names, countries) float64."""
    table = np.empty((len(names), countries))
    for batch, logits in classify(model, names, batch_size, device):
        table[batch.rows] = logits.cpu().numpy()
    return table


def loss_and_accuracy(
    model: nn.Module,
    names: Names,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype = torch.float32,
    group: Group | None = None,
) -> tuple[float, float]:
    """Mean cross-entropy (nats per name) and share of names whose likeliest country is right.

    Given ``group``, they divide the names among them, and each returns the same.
    """
    group = group or Group()
    totals = torch.zeros(2, dtype=torch.float64)  # loss, hits
    for batch, logits in classify(model, names, batch_size, device, precision, group):
        loss = cross_entropy(logits, batch.labels, reduction="sum")
        totals += torch.stack([loss, (logits.argmax(1) == batch.labels).sum()]).cpu()
    group.add_up([totals])
    loss, hits = (totals / len(names)).tolist()
    return loss, hits
