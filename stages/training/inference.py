"""Running a classifier over a whole split, on the model's own device."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from stages.corpus.dataset import Names
from stages.model.classifier import Classifier
from stages.training.batches import Batch, Rows, batches_by_length, collate
from stages.training.distributed import Runtime


@torch.no_grad()
def classify(
    model: Classifier, names: Names, batches: Iterable[Rows]
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield each batch with its (batch, countries) float32 logits."""
    model.eval()
    device = next(model.parameters()).device
    for rows in batches:
        batch = collate(names, rows, device)
        yield batch, model(batch.codes, batch.lengths)


def all_logits(model: Classifier, names: Names, batch_size: int) -> NDArray[np.float64]:
    """Logits of a whole split in its order: (names, countries)."""
    table = np.empty((len(names), model.logits.out_features))
    for batch, logits in classify(model, names, batches_by_length(names, batch_size)):
        table[batch.rows] = logits.cpu().numpy()
    return table


def loss_and_accuracy(
    model: Classifier, names: Names, batch_size: int, runtime: Runtime
) -> tuple[float, float]:
    """Mean cross-entropy (nats) and share of correct names; the processes share the work."""
    totals = torch.zeros(2, dtype=torch.float64)  # loss, correct names
    batches = batches_by_length(names, batch_size)
    for batch, logits in classify(
        model, names, islice(batches, runtime.rank, None, runtime.world_size)
    ):
        loss = cross_entropy(logits, batch.labels, reduction="sum")
        totals += torch.stack([loss, (logits.argmax(1) == batch.labels).sum()]).cpu()
    runtime.all_reduce([totals])
    loss, accuracy = (totals / len(names)).tolist()
    return loss, accuracy
