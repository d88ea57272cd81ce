"""The lecture notebook's classifier as a yardstick, with the notebook's own settings.

ASCII codes padded to the longest name of a batch, packed sequences, a bidirectional two-layer GRU,
Adam at a constant learning rate.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

BATCH = 256
HIDDEN = 100
CODES = 128


class NotebookClassifier(nn.Module):
    """Characters -> embedding -> bidirectional two-layer GRU -> logits."""

    def __init__(self, countries: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, HIDDEN)
        self.gru = nn.GRU(HIDDEN, HIDDEN, num_layers=2, bidirectional=True)
        self.logits = nn.Linear(2 * HIDDEN, countries)

    def forward(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """(length, batch) codes, longest name first -> (batch, countries)."""
        _, state = self.gru(pack_padded_sequence(self.embedding(codes), lengths))
        logits: Tensor = self.logits(torch.cat([state[-1], state[-2]], dim=1))
        return logits


def padded(names: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (length, batch) with the longest name first, lengths, and the order of the names."""
    codes = [torch.tensor([min(ord(letter), CODES - 1) for letter in name]) for name in names]
    lengths, order = torch.tensor([len(code) for code in codes]).sort(descending=True, stable=True)
    return pad_sequence([codes[place] for place in order]), lengths, order


def train_epochs(
    model: NotebookClassifier, names: Sequence[str], labels: Tensor, epochs: int
) -> Iterator[None]:
    """Train; yield after each epoch. The order comes from torch's global generator."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(names)).split(BATCH):  # type: ignore[no-untyped-call]
            codes, lengths, order = padded([names[row] for row in rows])
            loss = cross_entropy(model(codes, lengths), labels[rows[order]])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        yield


@torch.no_grad()
def predict(model: NotebookClassifier, names: Sequence[str]) -> Tensor:
    """The most probable country of each name, (names,)."""
    model.eval()
    found = torch.empty(len(names), dtype=torch.int64)
    for start in range(0, len(names), BATCH):
        codes, lengths, order = padded(names[start : start + BATCH])
        found[start + order] = model(codes, lengths).argmax(1)
    return found
