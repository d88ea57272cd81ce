"""The classifier: what its parts compute, and that padding changes nothing."""

import numpy as np
import pytest
import torch

from stages.core.params import ModelParams
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import BEGIN, END, UNICODE, UNKNOWN, Vocabulary, codepoints
from stages.model.classifier import Classifier, hash_ngrams, hash_words, last_state, real_codes
from stages.training.batches import collate

WORDS = ["Abe", "O", "Li", "Müller", "Ng", "Nguyen", "O'Brien", "Smith", "Kowalski", "Poe", "Sato"]
CPU = torch.device("cpu")


def params(**changes: object) -> ModelParams:
    plain = {
        "cell": "gru",
        "embedding": 6,
        "hidden": 5,
        "layers": 2,
        "bidirectional": True,
        "dropout": 0.3,
        "character_dropout": 0.0,
        "wide_ngrams": 3,
        "wide_buckets": 60,
        "wide_words": 0.5,
    }
    return ModelParams(**(plain | changes))


@pytest.fixture
def names() -> Names:
    counts = np.bincount(codepoints("".join(WORDS)), minlength=UNICODE)
    codes, offsets = Vocabulary.from_counts(counts, "keep", 1).encode(WORDS)
    return Names(codes, offsets, np.arange(len(WORDS)) % 3, np.zeros(len(WORDS), bool))


def one_at_a_time(model: Classifier, names: Names) -> torch.Tensor:
    """Logits of each name in a batch of its own."""
    pieces = zip(names.offsets, names.offsets[1:], strict=False)
    codes = [torch.from_numpy(names.codes[start:end].astype(np.int64)) for start, end in pieces]
    return torch.cat([model(piece[None]) for piece in codes])


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_padded_and_packed_equals_one_name_at_a_time(names, cell, bidirectional) -> None:
    torch.manual_seed(1)
    model = Classifier(params(cell=cell, bidirectional=bidirectional), 40, 3).eval()
    torch.nn.init.normal_(model.wide.weight)
    with torch.no_grad():
        expected = one_at_a_time(model, names)
        for rows in (np.arange(len(names)), np.array([3, 1, 8])):
            batch = collate(names, rows, CPU)
            for padding in (END, 7):
                codes = batch.codes.masked_fill(~real_codes(batch.codes, batch.lengths), padding)
                torch.testing.assert_close(
                    model(codes, batch.lengths), expected[batch.rows], atol=1e-5, rtol=1e-5
                )


def test_without_the_wide_term_it_is_the_notebook_s_network(names) -> None:
    model = Classifier(params(wide_ngrams=0), 40, 3).eval()
    assert sorted({name.split(".")[0] for name, _ in model.named_parameters()}) == [
        "characters",
        "logits",
        "recurrent",
    ]
    codes = torch.randint(3, 40, (4, 7))
    _, last = model.recurrent(model.characters(codes[:, 1:-1]))
    assert torch.equal(model(codes), model.logits(last_state(last, model.recurrent)))


def test_an_ngram_is_found_by_its_characters_alone() -> None:
    codes = torch.tensor([[0, 5, 6, 7, 5, 6, 1], [0, 9, 9, 5, 6, 7, 1]])
    trigrams, bigrams = hash_ngrams(codes, 3), hash_ngrams(codes, 2)
    assert trigrams[0, 3] == trigrams[1, 5]  # 5 6 7
    assert bigrams[0, 2] == bigrams[0, 5] == bigrams[1, 4]  # 5 6
    assert trigrams[0, 2] != trigrams[0, 5], "the one begins the name"
    assert bigrams[0, 2] != hash_ngrams(torch.tensor([[6, 5]]), 2)[0, 1], "order matters"


def test_a_word_is_found_wherever_it_stands() -> None:
    blank = 4
    names = torch.tensor([[0, 5, 6, 7, blank, 8, 9, 1], [0, 8, 9, blank, 5, 6, 7, 1]])
    hashed = hash_words(names, blank)
    assert hashed[0, 4] == hashed[1, 7] and hashed[0, 7] == hashed[1, 3]
    assert hashed[0, 4] != hashed[0, 7]
    assert hashed[0, 4] != hash_words(torch.tensor([[0, 6, 7, 1]]), blank)[0, 3], "a part of it"


def test_words_are_left_out_at_random_in_training_alone(names) -> None:
    model = Classifier(params(dropout=0.0, wide_words=0.4), 40, 3)
    torch.nn.init.normal_(model.wide.weight)
    batch = collate(names, np.arange(8), CPU)
    with torch.no_grad():
        drawn = [model(batch.codes, batch.lengths) for _ in range(200)]
        whole = model.eval()(batch.codes, batch.lengths)
    is_whole = torch.stack([torch.isclose(logits, whole).all(dim=1) for logits in drawn])
    assert is_whole.float().mean() == pytest.approx(0.4, abs=0.06)


def test_hashes_are_spread_over_the_buckets_and_fit_them() -> None:
    codes = torch.randint(0, 60_000, (2000, 12), generator=torch.Generator().manual_seed(1))
    for order in (1, 2, 3, 6):
        hashed = hash_ngrams(codes, order)
        assert hashed.min() >= 0
        assert hashed.max() < 2**31
        fill = torch.bincount(hashed.flatten() % 64, minlength=64).float()
        assert fill.max() / fill.mean() < 1.5


def test_every_weight_is_trained_by_a_batch_that_uses_it(names) -> None:
    model = Classifier(params(dropout=0.0), 40, 3)
    batch = collate(names, np.arange(8), CPU)
    logits = model(batch.codes, batch.lengths)
    torch.nn.functional.cross_entropy(logits, batch.labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_dropped_characters_become_unknown_and_bos_and_eos_are_never_dropped() -> None:
    model = Classifier(params(character_dropout=0.3), 40, 3)
    codes = torch.arange(3, 40).repeat(200, 1)
    lengths = torch.arange(37, 17, -1).repeat_interleave(10)
    ends = torch.arange(200), lengths - 1
    codes[:, 0], codes[ends] = BEGIN, END
    real = real_codes(codes, lengths)
    dropped = model.drop_characters(codes, real)
    changed = dropped != codes
    assert (dropped[changed] == UNKNOWN).all()
    assert not changed[:, 0].any() and not changed[ends].any()
    inner = real[:, 2:]
    assert changed[:, 1:-1][inner].float().mean() == pytest.approx(0.3, abs=0.02)


def test_nothing_is_dropped_in_evaluation(names) -> None:
    model = Classifier(params(character_dropout=0.9), 40, 3).eval()
    batch = collate(names, np.arange(8), CPU)
    first, second = (model(batch.codes, batch.lengths) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
