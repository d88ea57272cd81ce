"""Batches of names of exactly one length: no padding, hence no packing and no masks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.core.dataset import Names

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Names of one length.

    Attributes:
        rows: (batch,) their places in the split.
        codes: (batch, length) with marks, int64, on the device.
        labels: (batch,) int64, on the device.
    """

    rows: Rows
    codes: Tensor
    labels: Tensor


def training_order(names: Names, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Rows of each batch of one epoch: names shuffled within a length, then batches shuffled.

    A function of its arguments alone, so that a resumed run sees the same order.
    """
    random = np.random.default_rng([seed, epoch])
    batches = []
    for rows in _by_length(names):
        rows = random.permutation(rows)
        batches += [rows[n : n + batch_size] for n in range(0, len(rows), batch_size)]
    return [batches[n] for n in random.permutation(len(batches))]


def evaluation_order(names: Names, batch_size: int) -> list[Rows]:
    """Rows of each batch, short names first."""
    return [
        rows[n : n + batch_size]
        for rows in _by_length(names)
        for n in range(0, len(rows), batch_size)
    ]


def load_batches(names: Names, order: list[Rows], device: torch.device) -> Iterator[Batch]:
    """Read the batches of ``order`` from disk and put them on the device."""
    for rows in order:
        starts = names.offsets[rows]
        length = int(names.offsets[rows[0] + 1] - starts[0])
        codes = names.codes[starts[:, None] + np.arange(length)].astype(np.int64)
        labels = names.labels[rows].astype(np.int64)
        yield Batch(
            rows,
            torch.from_numpy(codes).to(device, non_blocking=True),
            torch.from_numpy(labels).to(device, non_blocking=True),
        )


def _by_length(names: Names) -> list[Rows]:
    lengths = np.diff(names.offsets)
    order = np.argsort(lengths, kind="stable")
    cuts = np.flatnonzero(np.diff(lengths[order])) + 1
    return [rows for rows in np.split(order, cuts) if len(rows)]
