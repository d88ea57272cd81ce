"""The linear term of the classifier: weights of a name's character n-grams and whole words.

A feature is known by a hash of its characters. Those that training names have most often have a
weight for each country; less frequent ones only for the two countries whose names most often have
them, which takes a twentieth of the memory and answers as well; others have none.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from stages.core.params import ModelParams
from stages.corpus.vocabulary import BEGIN, END

WORD = 12  # characters of a word that count, the last ones
HIGHEST_HASH = 2**31 - 1
MULTIPLIER, LAST_MULTIPLIER = 1_000_003, 73_244_475  # of each character, and of the sum
RARE_COUNTRIES = 2  # that a rare feature has weights for
SHORT = 2  # columns of `Wide.features`: n-grams so short are frequent features, or none


class Wide(nn.Module):
    """Logits of names, from the hashes of their n-grams and words.

    Attributes:
        frequent_keys: (frequent features,) their hashes, ascending.
        rare_keys: (rare features,) the same.
        rare_countries: (rare features, 2) the countries that their weights are for; a feature of
            one country has the number of countries as the second, which nothing reads.
    """

    frequent_keys: Tensor
    rare_keys: Tensor
    rare_countries: Tensor

    def __init__(self, params: ModelParams, countries: int, blank: int) -> None:
        """Start with no features, and all weights 0.

        Args:
            params: the shape of the network.
            countries: number of classes.
            blank: the code of the blank between words.
        """
        super().__init__()
        self.orders, self.word_weight = params.wide_ngrams, params.wide_words
        self.countries, self.blank = countries, blank
        self.frequent = nn.EmbeddingBag(params.wide_frequent, countries, mode="sum", sparse=True)
        self.rare = nn.Embedding(params.wide_rare, RARE_COUNTRIES, sparse=True)
        for table in (self.frequent, self.rare):
            nn.init.zeros_(table.weight)
        for name, size in (("frequent", params.wide_frequent), ("rare", params.wide_rare)):
            # No feature has such hashes.
            keys = torch.arange(HIGHEST_HASH + 1, HIGHEST_HASH + 1 + size)
            self.register_buffer(f"{name}_keys", keys)
        no_country = torch.full((params.wide_rare, RARE_COUNTRIES), countries, dtype=torch.int32)
        self.register_buffer("rare_countries", no_country)

    def forward(self, codes: Tensor, clean: Tensor, real: Tensor) -> Tensor:
        """(batch, countries) logits; see `features` for the arguments."""
        hashes, values, counted = self.features(codes, clean, real)
        rows, weights, names = known_features(self.frequent_keys, hashes, values, counted)
        sizes = torch.bincount(names, minlength=len(codes))
        logits = self.frequent(rows, sizes.cumsum(0) - sizes, per_sample_weights=weights)
        long = (each[:, :, SHORT:] for each in (hashes, values, counted))
        rows, weights, names = known_features(self.rare_keys, *long)
        added = self.rare(rows) * weights.unsqueeze(1)
        # One more column, for the second country of features that have one.
        cells = names.unsqueeze(1) * (self.countries + 1) + self.rare_countries[rows]
        table = pad(logits, (0, 1)).flatten().index_add(0, cells.flatten(), added.flatten())
        return table.view(len(codes), -1)[:, :-1]

    def has_countries(self) -> bool:
        """Whether all rare features are of countries that there are."""
        return bool(((self.rare_countries >= 0) & (self.rare_countries <= self.countries)).all())

    def features(self, codes: Tensor, clean: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hashes and values of features, and a mask of those that count.

        All are (batch, longest, columns): a column for the n-grams of each order, by their last
        character, and with words one for these, which count where they end. The squares of the
        values of a name's n-grams of one order add up to 1, and those of its words to
        ``model.wide_words`` squared, so that long names weigh no more than short ones.

        Args:
            codes: (batch, longest) codes for the n-grams.
            clean: (batch, longest) codes before characters were dropped, for the words.
            real: (batch, longest) mask, False for padding.
        """
        hashes = [hash_ngrams(codes, order) for order in range(1, self.orders + 1)]
        counted = [real] * self.orders
        values = [real.sum(1).rsqrt().unsqueeze(1).expand(codes.shape)] * self.orders
        if self.word_weight:
            hashes.append(hash_words(clean, self.blank))
            counted.append(real & ((clean == self.blank) | (clean == END)))
            scale = self.word_weight * counted[-1].sum(1).rsqrt()
            values.append(scale.unsqueeze(1).expand(codes.shape))
        return (torch.stack(hashes, dim=2), torch.stack(values, dim=2), torch.stack(counted, dim=2))


def known_features(
    keys: Tensor, hashes: Tensor, values: Tensor, counted: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The features that have weights: positions among the ascending keys, values, names.

    A name is its position in the batch; names ascend. See `Wide.features` for the arguments.
    """
    hashes, values, names = hashes[counted], values[counted], counted.nonzero()[:, 0]
    rows = torch.searchsorted(keys, hashes).clamp(max=len(keys) - 1)
    known = (keys[rows] == hashes).nonzero()[:, 0] if len(keys) else rows[:0]
    return rows[known], values[known], names[known]


def real_codes(codes: Tensor, lengths: Tensor | None) -> Tensor:
    """(batch, longest) mask: True for the codes of a name, False for padding."""
    if lengths is None:
        return torch.ones_like(codes, dtype=torch.bool)
    positions = torch.arange(codes.shape[1], device=codes.device)
    return positions < lengths.to(codes.device, non_blocking=True).unsqueeze(1)


def hash_ngrams(codes: Tensor, order: int) -> Tensor:
    """Hash of the n-gram that ends at each position of (batch, length): 0 to `HIGHEST_HASH`.

    Positions before the name hold code 0, BOS.
    """
    hashed = torch.zeros_like(codes)
    for back in range(order):
        hashed = _step(hashed, shifted(codes, back))
    return (hashed * LAST_MULTIPLIER) & HIGHEST_HASH


def hash_words(codes: Tensor, blank: int) -> Tensor:
    """Hash of the word before each position of (batch, length): 0 to `HIGHEST_HASH`."""
    letters = codes.masked_fill(codes == blank, BEGIN)
    hashed, inside = torch.ones_like(codes), torch.ones_like(codes, dtype=torch.bool)
    for back in range(1, WORD + 1):
        letter = shifted(letters, back)
        inside = inside & (letter != BEGIN)
        hashed = torch.where(inside, _step(hashed, letter), hashed)
    return (hashed * LAST_MULTIPLIER) & HIGHEST_HASH


def shifted(codes: Tensor, back: int) -> Tensor:
    """The codes so many positions before each of (batch, length); 0, BOS, before the name."""
    return pad(codes, (back, 0))[:, : codes.shape[1]]


def _step(hashed: Tensor, codes: Tensor) -> Tensor:
    return (hashed * MULTIPLIER + codes) & HIGHEST_HASH
