"""Padded batches of names, for training and for evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.corpus.dataset import Names

Rows = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Batch:
    """Names in descending order of length, as `Classifier` and `pack_padded_sequence` want them.

    Attributes:
        rows: (batch,) positions in the split.
        codes: (batch, longest) int64 on the device, padded.
        lengths: (batch,) int64 on the CPU, BOS and EOS included.
        labels: (batch,) int64 on the device.
    """

    rows: Rows
    codes: Tensor
    lengths: Tensor
    labels: Tensor


def collate(names: Names, rows: Rows, device: torch.device) -> Batch:
    """Read the names at ``rows`` and pad them to the longest."""
    lengths = names.offsets[rows + 1] - names.offsets[rows]
    order = np.argsort(-lengths, kind="stable")
    rows, lengths = rows[order], lengths[order]
    positions = names.offsets[rows][:, None] + np.arange(lengths[0])
    codes = names.codes[np.minimum(positions, len(names.codes) - 1)].astype(np.int64)
    return Batch(
        rows,
        torch.from_numpy(codes).to(device, non_blocking=True),
        torch.from_numpy(lengths.astype(np.int64)),
        torch.from_numpy(names.labels[rows].astype(np.int64)).to(device, non_blocking=True),
    )


def batches_by_length(names: Names, batch_size: int) -> Iterator[Rows]:
    """Rows of each batch; names of similar length are together, so that little is padded."""
    order = np.argsort(np.diff(names.offsets), kind="stable")
    return (order[start : start + batch_size] for start in range(0, len(order), batch_size))
