"""The wide & deep character classifier.

Deep: character embeddings -> recurrent layers -> last state -> logits. Wide: a linear classifier
over hashed character n-grams and whole words, whose logits are added (Cheng et al., Wide & Deep
Learning for Recommender Systems, 2016). The recurrent layers generalise; the wide term memorises.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence

from stages.core.params import ModelParams
from stages.corpus.vocabulary import BEGIN, END, UNKNOWN

CELLS: dict[str, type[nn.GRU | nn.LSTM | nn.RNN]] = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn": nn.RNN,
}

WORD = 12  # characters
GROUP = 64  # names of a batch that are padded to one length


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
        self.recurrent = CELLS[params.cell](
            params.embedding,
            params.hidden,
            params.layers,
            batch_first=True,
            bidirectional=params.bidirectional,
            dropout=params.dropout if params.layers > 1 else 0.0,
        )
        width = params.hidden * (2 if params.bidirectional else 1)
        self.logits = nn.Linear(width, countries)
        self.wide = None
        if params.wide_ngrams:
            self.wide = nn.EmbeddingBag(params.wide_buckets, countries, mode="sum", sparse=True)
            nn.init.zeros_(self.wide.weight)
        self.dropout = nn.Dropout(params.dropout)
        self.character_dropout = params.character_dropout
        self.orders, self.buckets = params.wide_ngrams, params.wide_buckets
        self.wide_words, self.blank = params.wide_words, blank

    def forward(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits: (batch, length) codes -> (batch, countries).

        Args:
            codes: (batch, longest) int64.
            lengths: (batch,) int64 on the CPU, descending, BOS and EOS included; None if all names
                are of one length.
        """
        real = real_codes(codes, lengths)
        whole = codes
        if self.training and self.character_dropout:
            codes = self.drop_characters(codes, real)
        # BOS and EOS count in the n-grams, but are no steps of the recurrent layer: with them its
        # last state is a worse summary of the name.
        steps = self.dropout(self.characters(codes[:, 1:-1]))
        logits = cast(Tensor, self.logits(self.dropout(self.summary(steps, lengths))))
        if self.wide:
            logits = logits + self.wide_logits(codes, whole, real)
        return logits

    def summary(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """State of the recurrent layer after each name, of its steps: (batch, longest, embedding).

        Returns (batch, width). On a CPU the gradient of a packed sequence costs the square of its
        length, since each step has a gradient of the size of them all. So names are padded there,
        in groups of similar lengths; other devices and layers that read both ways take packed ones.
        """
        if lengths is None:
            return last_state(self.recurrent(steps)[1], self.recurrent)
        if self.recurrent.bidirectional or steps.device.type != "cpu":
            packed = pack_padded_sequence(steps, lengths - 2, batch_first=True)
            return last_state(self.recurrent(packed)[1], self.recurrent)
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

    def wide_logits(self, codes: Tensor, whole: Tensor, real: Tensor) -> Tensor:
        """The wide term, (batch, countries), divided by the square root of the name's length.

        In training it sees the share `wide_words` of the words, drawn at random, so that n-grams
        and recurrent layers learn to do without, as they must for words of no training name.

        Args:
            codes: (batch, longest), whose n-grams count.
            whole: the codes before characters were dropped, whose words count.
            real: (batch, longest) mask, False for padding.
        """
        assert self.wide is not None
        hashes = [hash_ngrams(codes, order) for order in range(1, self.orders + 1)]
        counted = [real] * self.orders
        if self.wide_words:
            hashes.append(hash_words(whole, self.blank))
            counted.append(real & ((whole == self.blank) | (whole == END)))
            if self.training:
                counted[-1] &= torch.rand(codes.shape, device=codes.device) < self.wide_words
        mask = torch.stack(counted, dim=2)
        bags = mask.sum((1, 2)).cumsum(0)
        first = torch.cat([bags.new_zeros(1), bags[:-1]])
        rows = torch.stack(hashes, dim=2)[mask] % self.buckets
        return cast(Tensor, self.wide(rows, first)) / real.sum(1).sqrt().unsqueeze(1)


def real_codes(codes: Tensor, lengths: Tensor | None) -> Tensor:
    """(batch, longest) mask: True for the codes of a name, False for padding."""
    if lengths is None:
        return torch.ones_like(codes, dtype=torch.bool)
    positions = torch.arange(codes.shape[1], device=codes.device)
    return positions < lengths.to(codes.device, non_blocking=True).unsqueeze(1)


def hash_ngrams(codes: Tensor, order: int) -> Tensor:
    """Hash of the n-gram that ends at each position of (batch, length): 0 to 2**31 - 1.

    Positions before the name hold code 0, BOS.
    """
    hashed = torch.zeros_like(codes)
    for back in range(order):
        shifted = pad(codes, (back, 0))[:, : codes.shape[1]]
        hashed = (hashed * 1_000_003 + shifted) & 0x7FFFFFFF
    return (hashed * 73_244_475) & 0x7FFFFFFF


def hash_words(codes: Tensor, blank: int) -> Tensor:
    """Hash of the word before each position of (batch, length): 0 to 2**31 - 1.

    Of a word of more than `WORD` characters, the last ones count.
    """
    letters = codes.masked_fill(codes == blank, BEGIN)
    hashed, inside = torch.ones_like(codes), torch.ones_like(codes, dtype=torch.bool)
    for back in range(1, WORD + 1):
        shifted = pad(letters, (back, 0))[:, : codes.shape[1]]
        inside = inside & (shifted != BEGIN)
        hashed = torch.where(inside, (hashed * 1_000_003 + shifted) & 0x7FFFFFFF, hashed)
    return (hashed * 73_244_475) & 0x7FFFFFFF


def last_state(state: Tensor | tuple[Tensor, Tensor], layer: nn.RNNBase) -> Tensor:
    """The top layer's last state, directions concatenated: (batch, width)."""
    hidden = state[0] if isinstance(state, tuple) else state  # an LSTM has a cell state too
    directions = 2 if layer.bidirectional else 1
    return hidden[-directions:].transpose(0, 1).flatten(1)
