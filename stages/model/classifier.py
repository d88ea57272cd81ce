"""The wide & deep character classifier.

Deep: embeddings of characters and of hashed n-grams -> recurrent layers -> logits. Wide: a linear
n-gram classifier, whose logits are added (Cheng et al., Wide & Deep Learning for Recommender
Systems, 2016). The recurrent layers generalise; the wide term remembers what a linear model does.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, pad

from stages.core.params import ModelParams
from stages.corpus.vocabulary import UNKNOWN

CELLS: dict[str, type[nn.GRU | nn.LSTM | nn.RNN]] = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn": nn.RNN,
}


class Classifier(nn.Module):
    """Logits of names of one length."""

    def __init__(self, params: ModelParams, codes: int, countries: int) -> None:
        """Draw the weights of a classifier of ``codes`` characters into ``countries``."""
        super().__init__()
        self.characters = nn.Embedding(codes, params.embedding)
        self.ngrams = Ngrams(range(2, params.ngrams + 1), params.buckets, params.embedding)
        self.wide = Ngrams(range(1, params.wide_ngrams + 1), params.wide_buckets, countries)
        self.recurrent = CELLS[params.cell](
            params.embedding,
            params.hidden,
            params.layers,
            bidirectional=params.bidirectional,
            dropout=params.dropout if params.layers > 1 else 0.0,
        )
        width = params.hidden * (2 if params.bidirectional else 1)
        self.attention = Attention(width) if params.attention else None
        self.logits = nn.Linear(width * (2 if params.attention else 1), countries)
        self.dropout = nn.Dropout(params.dropout)
        self.character_dropout = params.character_dropout
        self.ngram_dropout = params.ngram_dropout
        # Small n-gram vectors: a rare n-gram should move its character's vector, not replace it.
        nn.init.normal_(self.ngrams.table.weight, std=0.1)
        nn.init.zeros_(self.wide.table.weight)

    def forward(self, codes: Tensor) -> Tensor:
        """(batch, length) codes with marks -> (batch, countries) logits."""
        return self.read(codes)[0]

    def read(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the top layer's state at each character: (length - 2, batch, width)."""
        if self.training and self.character_dropout:
            codes = self.drop_characters(codes)
        characters = self.dropout(self.embed(codes))
        states, last = self.recurrent(characters.transpose(0, 1))
        features = last_states(last, self.recurrent)
        if self.attention:
            features = torch.cat([features, self.attention(states)], dim=1)
        deep = self.logits(self.dropout(features))
        return cast(Tensor, deep) + self.wide_logits(codes), states

    def drop_characters(self, codes: Tensor) -> Tensor:
        """Take some characters for unknown ones, so that no name hangs on one of them.

        Also in the n-grams, deep and wide. The unknown character itself is so trained as well
        (Iyyer et al., Deep Unordered Composition Rivals Syntactic Methods, 2015).
        """
        drop = torch.rand(codes.shape, device=codes.device) < self.character_dropout
        drop[:, 0] = drop[:, -1] = False  # the marks
        return codes.masked_fill(drop, UNKNOWN)

    def embed(self, codes: Tensor) -> Tensor:
        """(batch, length) -> (batch, length - 2, embedding): each character with its n-grams.

        The marks are no steps of the recurrent layer: with them its last states, which alone
        speak for the name in a plain GRU, say less. They count in the n-grams; those that end
        with the end mark go to the last character.
        """
        characters = cast(Tensor, self.characters(codes[:, 1:-1]))
        if not self.ngrams.orders:
            return characters
        ngrams: Tensor = self.ngrams(codes)
        if self.training and self.ngram_dropout:
            # Whole n-grams, so that the characters alone learn to do without them.
            keep = torch.rand(ngrams.shape[:3], device=codes.device) >= self.ngram_dropout
            ngrams = ngrams * keep.unsqueeze(-1)
        total = ngrams.sum(2)
        last = total[:, -2:-1] + total[:, -1:]
        return characters + torch.cat([total[:, 1:-2], last], dim=1)

    def wide_logits(self, codes: Tensor) -> Tensor:
        """The wide term, (batch, countries): scaled, as longer names have more n-grams."""
        if not self.wide.orders:
            return torch.zeros((), device=codes.device)
        total: Tensor = self.wide(codes).sum((1, 2))
        return torch.div(total, math.sqrt(codes.shape[1]))


class Ngrams(nn.Module):
    """Embeddings of n-grams, found by hash: (orders x buckets) rows."""

    def __init__(self, orders: range, buckets: int, width: int) -> None:
        super().__init__()
        self.orders, self.buckets = orders, buckets
        self.sparse = False  # whether the table's gradient names the rows that were met, only
        self.table = nn.Embedding(len(orders) * buckets, width)

    def forward(self, codes: Tensor) -> Tensor:
        """(batch, length) -> (batch, length, orders, width): n-grams that end at each position."""
        rows = [
            hash_ngrams(codes, order) % self.buckets + place * self.buckets
            for place, order in enumerate(self.orders)
        ]
        return embedding(torch.stack(rows, dim=2), self.table.weight, sparse=self.sparse)


class Attention(nn.Module):
    """Mean of all states, weighted by how much each position tells.

    One learned query scores the states (Yang et al., Hierarchical Attention Networks, 2016).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(width) * width**-0.5)

    def forward(self, states: Tensor) -> Tensor:
        """(length, batch, width) -> (batch, width)."""
        weights = (torch.tanh(states) @ self.query).softmax(0)
        return (weights.unsqueeze(-1) * states).sum(0)


def hash_ngrams(codes: Tensor, order: int) -> Tensor:
    """A number from 0 to 2**31 - 1 for the n-gram that ends at each position of (batch, length).

    Before the name's begin stands code 0, the begin mark.
    """
    hashed = torch.zeros_like(codes)
    for back in range(order):
        shifted = pad(codes, (back, 0))[:, : codes.shape[1]]
        hashed = (hashed * 1_000_003 + shifted) & 0x7FFFFFFF
    return (hashed * 73_244_475) & 0x7FFFFFFF


def last_states(state: Tensor | tuple[Tensor, Tensor], layer: nn.RNNBase) -> Tensor:
    """What the top layer ends with, both directions side by side: (batch, width)."""
    hidden = state[0] if isinstance(state, tuple) else state  # an LSTM has a cell state too
    directions = 2 if layer.bidirectional else 1
    return hidden[-directions:].transpose(0, 1).flatten(1)
