"""The linear term: its features, and the weights that they have."""

from collections import defaultdict
from itertools import chain, product

import numpy as np
import pytest
import torch

from stages.corpus.dataset import Names
from stages.corpus.vocabulary import BEGIN, END
from stages.model.wide import HIGHEST_HASH, Wide, hash_ngrams, hash_words, real_codes
from stages.training import features
from stages.training.features import choose_features
from tests.model.test_classifier import params

BLANK = 4
CODES = [[0, 5, 6, 7, 1], [0, 5, 6, 7, 4, 8, 9, 1], [0, 5, 6, 7, 1], [0, 8, 8, 9, 1], [0, 9, 7, 1]]
COUNTRIES = [0, 1, 0, 2, 1]


@pytest.fixture
def names() -> Names:
    offsets = np.cumsum([0, *map(len, CODES)])
    return Names(np.concatenate(CODES), offsets, np.array(COUNTRIES), np.zeros(5, bool))


def wide(names: Names, **changes: object) -> Wide:
    """The linear term of three countries, with random weights."""
    model = Wide(params(wide_ngrams=3, **changes), 3, BLANK)
    choose_features(model, names)
    for table in (model.frequent, model.rare):
        torch.nn.init.normal_(table.weight, generator=torch.Generator().manual_seed(1))
    return model


def ask(model: Wide, codes: list[int]) -> torch.Tensor:
    name = torch.tensor([codes])
    with torch.no_grad():
        return model(name, name, real_codes(name, None))[0]


def hashes(codes: list[int]) -> tuple[list[int], list[int]]:
    """Hashes of a name's n-grams and of its words."""
    name = torch.tensor([codes])
    ngrams = torch.cat([hash_ngrams(name, order)[0] for order in (1, 2, 3)])
    return ngrams.tolist(), hash_words(name, BLANK)[(name == BLANK) | (name == END)].tolist()


def test_an_ngram_is_known_by_its_characters_alone() -> None:
    codes = torch.tensor([[0, 5, 6, 7, 5, 6, 1], [0, 9, 9, 5, 6, 7, 1]])
    trigrams, bigrams = hash_ngrams(codes, 3), hash_ngrams(codes, 2)
    assert trigrams[0, 3] == trigrams[1, 5]  # 5 6 7
    assert bigrams[0, 2] == bigrams[0, 5] == bigrams[1, 4]  # 5 6
    assert trigrams[0, 2] != trigrams[0, 5], "the one begins the name"
    assert bigrams[0, 2] != hash_ngrams(torch.tensor([[6, 5]]), 2)[0, 1], "order matters"


def test_a_word_is_known_wherever_it_stands() -> None:
    names = torch.tensor([[0, 5, 6, 7, BLANK, 8, 9, 1], [0, 8, 9, BLANK, 5, 6, 7, 1]])
    hashed = hash_words(names, BLANK)
    assert hashed[0, 4] == hashed[1, 7] and hashed[0, 7] == hashed[1, 3]
    assert hashed[0, 4] != hashed[0, 7]
    assert hashed[0, 4] != hash_words(torch.tensor([[0, 6, 7, 1]]), BLANK)[0, 3], "a part of it"


def test_no_two_short_ngrams_have_the_same_hash() -> None:
    codes = torch.tensor([[BEGIN, *pair] for pair in product(range(1, 300), repeat=2)])
    hashed = torch.cat([hash_ngrams(codes, order)[:, 2] for order in (2, 3)])
    assert len(hashed.unique()) == len(hashed)
    assert hashed.min() >= 0 and hashed.max() <= HIGHEST_HASH


@pytest.mark.parametrize("words", [0.0, 1.5])
@pytest.mark.parametrize("codes", [CODES[0], CODES[1], [0, 8, 9, 4, 5, 6, 7, 1], [0, 3, 3, 1]])
def test_logits_are_the_weights_of_the_features_that_training_names_have(
    names: Names, codes: list[int], words: float
) -> None:
    model = wide(names, wide_frequent=100, wide_words=words)
    weights = dict(zip(model.frequent_keys.tolist(), model.frequent.weight.detach(), strict=True))
    ngrams, whole = hashes(codes)
    expected = torch.zeros(3)
    # Long names weigh no more than short ones.
    for hashed, scale in ((ngrams, len(codes) ** -0.5), (whole, words * len(whole) ** -0.5)):
        expected += scale * sum((weights[key] for key in hashed if key in weights), torch.zeros(3))
    torch.testing.assert_close(ask(model, codes), expected)


def test_the_most_frequent_features_have_weights_for_all_countries_the_next_for_two(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "BLOCK", 2)  # counted at once, of five
    model = wide(names, wide_frequent=6, wide_rare=8)
    counts: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for codes, country in zip(CODES, COUNTRIES, strict=True):
        for hashed in chain(*hashes(codes)):
            counts[hashed][country] += 1
    ranked = sorted(counts, key=lambda hashed: (-sum(counts[hashed]), hashed))
    assert model.frequent_keys.tolist() == sorted(ranked[:6])
    short = {
        hashed
        for codes, order in product(CODES, (1, 2))
        for hashed in hash_ngrams(torch.tensor([codes]), order)[0].tolist()
    }
    long = [hashed for hashed in ranked[6:] if hashed not in short]
    assert model.rare_keys.tolist() == sorted(long[:8]) and len(long) > 8
    for row, hashed in enumerate(model.rare_keys.tolist()):
        best = sorted(range(3), key=lambda country: (-counts[hashed][country], country))
        countries = [country if counts[hashed][country] else 3 for country in best[:2]]
        assert model.rare_countries[row].tolist() == countries


def test_a_rare_feature_changes_the_logits_of_its_countries_alone(names: Names) -> None:
    model = wide(names, wide_frequent=1, wide_rare=100)
    torch.nn.init.zeros_(model.frequent.weight)
    logits = ask(model, [0, 8, 8, 3, 1])  # its 3-grams are of the last country alone
    assert logits[2] != 0 and not logits[:2].any()
