"""Running a trained classifier over a split, in bounded memory."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.core.batches import Batch, evaluation_order, load_batches
from stages.core.dataset import Names


@torch.no_grad()
def classify(
    model: nn.Module,
    names: Names,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype = torch.float32,
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield batches of names of one length with their (batch, countries) float32 logits."""
    model.eval()
    for batch in load_batches(names, evaluation_order(names, batch_size), device):
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
) -> tuple[float, float]:
    """Mean cross-entropy (nats per name) and share of names whose likeliest country is right."""
    loss, hits = 0.0, 0
    for batch, logits in classify(model, names, batch_size, device, precision):
        loss += cross_entropy(logits, batch.labels, reduction="sum").item()
        hits += int((logits.argmax(1) == batch.labels).sum())
    return loss / len(names), hits / len(names)
