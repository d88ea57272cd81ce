"""The wide & deep character classifier."""

import torch
from torch import Tensor, nn

from stages.core.params import ModelParams


def hash_ngrams(codes: Tensor, n: int, buckets: int) -> Tensor:
    """Bucket of the n-gram that ends at each position: (batch, length) -> (batch, length)."""
    hashed = codes.clone()
    for back in range(1, n):
        shifted = nn.functional.pad(codes[:, :-back], (back, 0))
        hashed = (hashed + shifted * 1_000_003**back) & 0x7FFFFFFF
    return (hashed * 2_654_435_761 >> 7) % buckets


class Classifier(nn.Module):
    """Characters and n-grams -> recurrent layers -> logits, plus a linear n-gram term."""

    def __init__(self, params: ModelParams, codes: int, countries: int) -> None:
        super().__init__()
        self.params = params
        self.embed = nn.Embedding(codes, params.embedding)
        self.orders = tuple(range(2, params.ngrams + 1))
        self.ngrams = nn.ModuleList(
            nn.Embedding(params.buckets, params.embedding) for _ in self.orders
        )
        self.wide = nn.ModuleList(
            nn.Embedding(params.buckets, countries) for _ in self.orders if params.wide
        )
        for table in self.wide:
            nn.init.zeros_(table.weight)
        cell = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}[params.cell]
        self.recurrent = cell(
            params.embedding,
            params.hidden,
            params.layers,
            batch_first=True,
            bidirectional=params.bidirectional,
            dropout=params.dropout if params.layers > 1 else 0,
        )
        self.dropout = nn.Dropout(params.dropout)
        self.output = nn.Linear(params.hidden * (2 if params.bidirectional else 1), countries)

    def forward(self, codes: Tensor) -> Tensor:
        """(batch, length) codes of names of one length -> (batch, countries) logits."""
        x = self.embed(codes)
        hashed = [hash_ngrams(codes, n, self.params.buckets) for n in self.orders]
        for table, rows in zip(self.ngrams, hashed, strict=True):
            x = x + table(rows)
        _, state = self.recurrent(self.dropout(x))
        state = state[0] if isinstance(state, tuple) else state
        last = torch.cat(list(state[-2:] if self.params.bidirectional else state[-1:]), dim=1)
        logits = self.output(self.dropout(last)).float()
        for table, rows in zip(self.wide, hashed, strict=False):
            logits = logits + table(rows).sum(1)
        return logits
