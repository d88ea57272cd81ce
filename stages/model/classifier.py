"""The wide & deep character classifier.

Deep: character embeddings -> recurrent layers -> last state -> logits. Wide: a linear classifier
over character n-grams and whole words (wide.py), whose logits are added (Cheng et al., Wide & Deep
Learning for Recommender Systems, 2016). The recurrent layers generalise; the wide term memorises.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from stages.core.params import ModelParams
from stages.corpus.vocabulary import END, UNKNOWN
from stages.model.lessons import LAYERS
from stages.model.wide import Wide, real_codes

GROUP = 64  # names of a batch that are padded to one length on a CPU


class Classifier(nn.Module):
    """Countries of names, from the codes of their characters.

    A name is ``BOS, character codes, EOS``. A batch holds names of one length, or names of several
    lengths in descending order, padded at the end with any code.
    """

    def __init__(self, params: ModelParams, codes: int, countries: int, blank: int = END) -> None:
        """Draw the weights.

        Args:
            params: the shape of the network.
            codes: size of the vocabulary.
            countries: number of classes.
            blank: the code of the blank between words; `END` if the vocabulary has none.
        """
        super().__init__()
        self.characters = nn.Embedding(codes, params.embedding)
        self.recurrent = LAYERS[params.cell](
            params.embedding,
            params.hidden,
            params.layers,
            batch_first=True,
            bidirectional=params.bidirectional,
            dropout=params.dropout if params.layers > 1 else 0.0,
        )
        width = params.hidden * (2 if params.bidirectional else 1)
        self.logits = nn.Linear(width, countries)
        self.wide = Wide(params, countries, blank) if params.wide_ngrams else None
        self.dropout = nn.Dropout(params.dropout)
        self.character_dropout = params.character_dropout

    def forward(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits: (batch, length) codes -> (batch, countries).

        Args:
            codes: (batch, longest) int64.
            lengths: (batch,) int64 on the CPU, descending, BOS and EOS included; None if all names
                are of one length.
        """
        real = real_codes(codes, lengths)
        clean = codes
        if self.training and self.character_dropout:
            codes = self.drop_characters(codes, real)
        # BOS and EOS count in the n-grams, but are no steps of the recurrent layer: with them its
        # last state is a worse summary of the name.
        steps = self.dropout(self.characters(codes[:, 1:-1]))
        logits = cast(Tensor, self.logits(self.dropout(self.summary(steps, lengths))))
        if self.wide:
            logits = logits + self.wide(codes, clean, real)
        return logits

    def summary(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """State of the recurrent layer after each name, of its steps: (batch, longest, embedding).

        Returns (batch, width). On a CPU the gradient of a packed sequence costs the square of its
        length, since each step has a gradient of the size of them all. So names are padded there,
        in groups of similar lengths; other devices and layers that read both ways take packed ones.
        """
        if lengths is None or self.recurrent.bidirectional or steps.device.type != "cpu":
            names = steps if lengths is None else pack_padded_sequence(steps, lengths - 2, True)
            return last_state(self.recurrent(names)[1], self.recurrent)
        states = []
        for start in range(0, len(steps), GROUP):
            group = steps[start : start + GROUP]
            ends = lengths[start : start + GROUP] - 3
            output, _ = self.recurrent(group[:, : int(ends[0]) + 1])
            states.append(output[torch.arange(len(ends)), ends])
        return torch.cat(states)

    def drop_characters(self, codes: Tensor, real: Tensor) -> Tensor:
        """Replace random characters by UNKNOWN, so that no answer depends on a single one.

        This trains the unknown character as well (word dropout: Iyyer et al., Deep Unordered
        Composition Rivals Syntactic Methods for Text Classification, 2015).
        """
        drop = torch.rand(codes.shape, device=codes.device) < self.character_dropout
        drop[:, 0] = False  # BOS
        drop[:, :-1] &= real[:, 1:]  # EOS is the last real code
        drop[:, -1] = False
        return codes.masked_fill(drop, UNKNOWN)


def last_state(state: Tensor | tuple[Tensor, Tensor], layer: nn.RNNBase) -> Tensor:
    """The top layer's last state, directions concatenated: (batch, width)."""
    hidden = state[0] if isinstance(state, tuple) else state  # an LSTM has a cell state too
    directions = 2 if layer.bidirectional else 1
    return hidden[-directions:].transpose(0, 1).flatten(1)
