"""The first lessons on recurrent networks: three ways to turn one word into another.

Each model reads codes of characters, (batch, length), and gives logits of the characters to write,
(batch, length, alphabet). docs/lessons.md explains them.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

CELLS: dict[str, type[nn.RNNCell | nn.LSTMCell | nn.GRUCell]] = {
    "rnn": nn.RNNCell,
    "lstm": nn.LSTMCell,
    "gru": nn.GRUCell,
}
LAYERS: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Stepped(nn.Module):
    """A cell stepped by hand over one-hot characters; its state is the logits."""

    def __init__(self, cell: str, alphabet: int) -> None:
        """Draw the weights of a ``rnn``, ``lstm`` or ``gru`` cell."""
        super().__init__()
        self.alphabet = alphabet
        self.cell = CELLS[cell](alphabet, alphabet)

    def forward(self, codes: Tensor) -> Tensor:
        """(batch, length) codes -> (batch, length, alphabet) logits."""
        state = None  # the cell begins with zeros
        logits = []
        for characters in one_hot(codes.T, self.alphabet).float():  # each (batch, alphabet)
            state = self.cell(characters, state)
            # An LSTM's state is two tensors: the hidden state, which it shows, and the cell state.
            logits.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(logits, dim=1)


class WholeSequence(nn.Module):
    """The same cell as a layer, which steps over the whole sequence itself."""

    def __init__(self, cell: str, alphabet: int) -> None:
        """Draw the weights of a ``rnn``, ``lstm`` or ``gru`` layer."""
        super().__init__()
        self.alphabet = alphabet
        self.layer = LAYERS[cell](alphabet, alphabet)

    def forward(self, codes: Tensor) -> Tensor:
        """(batch, length) codes -> (batch, length, alphabet) logits."""
        # Unless told otherwise a layer wants time first: (length, batch, alphabet).
        outputs, _ = self.layer(one_hot(codes.T, self.alphabet).float())
        logits: Tensor = outputs.transpose(0, 1)
        return logits


class Embedded(nn.Module):
    """Learned vectors in, stacked layers of any width, and a linear layer that gives the logits."""

    def __init__(self, cell: str, alphabet: int, embedding: int, hidden: int, layers: int) -> None:
        """Draw the weights; ``embedding`` and ``hidden`` are widths."""
        super().__init__()
        self.embedding = nn.Embedding(alphabet, embedding)
        self.layer = LAYERS[cell](embedding, hidden, layers, batch_first=True)
        self.logits = nn.Linear(hidden, alphabet)

    def forward(self, codes: Tensor) -> Tensor:
        """(batch, length) codes -> (batch, length, alphabet) logits."""
        outputs, _ = self.layer(self.embedding(codes))  # (batch, length, hidden)
        logits: Tensor = self.logits(outputs)
        return logits


def learn(
    model: nn.Module, codes: Tensor, targets: Tensor, rate: float, epochs: int, reduction: str
) -> Iterator[tuple[float, Tensor]]:
    """Train with Adam; after each epoch give its loss and the codes that it predicted.

    Both are of the weights that the epoch began with, as in the notebook.

    Args:
        model: one of the models above.
        codes: (batch, length) int64, what it reads.
        targets: (batch, length) int64, what it should write.
        rate: learning rate.
        epochs: steps, as all words are one batch.
        reduction: ``sum`` or ``mean`` of the characters' cross-entropies, in nats.
    """
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(epochs):
        optimizer.zero_grad()
        logits = model(codes)
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield loss.item(), logits.argmax(dim=2)
