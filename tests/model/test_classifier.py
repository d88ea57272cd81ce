import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from stages.core.params import ModelParams
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import BEGIN, END, UNICODE, UNKNOWN, Vocabulary, codepoints
from stages.model.classifier import Classifier, hash_ngrams, last_states
from stages.training.batches import evaluation_order, load_batches

WORDS = ["Abe", "O", "Li", "Müller", "Ng", "Nguyen", "O'Brien", "Smith", "Kowalski", "Poe", "Sato"]


def params(**changes: object) -> ModelParams:
    plain = {
        "cell": "gru",
        "embedding": 6,
        "hidden": 5,
        "layers": 2,
        "bidirectional": True,
        "attention": True,
        "dropout": 0.3,
        "character_dropout": 0.0,
        "ngrams": 3,
        "buckets": 50,
        "ngram_dropout": 0.2,
        "wide_ngrams": 3,
        "wide_buckets": 60,
    }
    return ModelParams(**(plain | changes))


@pytest.fixture
def names() -> Names:
    counts = np.bincount(codepoints("".join(WORDS)), minlength=UNICODE)
    codes, offsets = Vocabulary.from_counts(counts, "keep", 1).encode(WORDS)
    by_length = np.argsort(np.diff(offsets), kind="stable").astype(np.uint32)
    return Names(codes, offsets, np.arange(len(WORDS)) % 3, np.zeros(len(WORDS), bool), by_length)


def padded_logits(model: Classifier, names: Names) -> torch.Tensor:
    """The same classifier as the lecture notebook would run it: padded, sorted and packed."""
    pieces = [
        torch.from_numpy(names.codes[start:end].astype(np.int64))
        for start, end in zip(names.offsets, names.offsets[1:], strict=False)
    ]
    order = sorted(range(len(pieces)), key=lambda n: -len(pieces[n]))
    vectors = pad_sequence([model.embed(pieces[n][None])[0] for n in order])
    lengths = torch.tensor([len(pieces[n]) - 2 for n in order])  # marks are no steps
    states, last = model.recurrent(pack_padded_sequence(vectors, lengths))
    states, _ = pad_packed_sequence(states)
    features = last_states(last, model.recurrent)
    if model.attention:
        pooled = [model.attention(states[:length, n : n + 1]) for n, length in enumerate(lengths)]
        features = torch.cat([features, torch.cat(pooled)], dim=1)
    logits = model.logits(features)
    found = torch.empty_like(logits)
    found[order] = logits
    return found + torch.cat([model.wide_logits(piece[None]) for piece in pieces])


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("attention", [True, False])
def test_a_bucket_of_one_length_equals_packed_padding(
    names, cell, bidirectional, attention
) -> None:
    torch.manual_seed(1)
    chosen = params(cell=cell, bidirectional=bidirectional, attention=attention)
    model = Classifier(chosen, 40, 3).eval()
    torch.nn.init.normal_(model.wide.table.weight)
    with torch.no_grad():
        expected = padded_logits(model, names)
        for batch in load_batches(names, evaluation_order(names, 3), torch.device("cpu")):
            torch.testing.assert_close(
                model(batch.codes), expected[batch.rows], atol=1e-5, rtol=1e-5
            )


def test_without_its_ingredients_it_is_the_notebook_s_network(names) -> None:
    model = Classifier(params(ngrams=1, wide_ngrams=0, attention=False), 40, 3).eval()
    assert sorted({name.split(".")[0] for name, p in model.named_parameters() if p.numel()}) == [
        "characters",
        "logits",
        "recurrent",
    ]
    for batch in load_batches(names, evaluation_order(names, 4), torch.device("cpu")):
        _, last = model.recurrent(model.characters(batch.codes[:, 1:-1]).transpose(0, 1))
        assert torch.equal(model(batch.codes), model.logits(last_states(last, model.recurrent)))


def test_an_ngram_is_found_by_its_characters_alone() -> None:
    codes = torch.tensor([[0, 5, 6, 7, 5, 6, 1], [0, 9, 9, 5, 6, 7, 1]])
    trigrams, bigrams = hash_ngrams(codes, 3), hash_ngrams(codes, 2)
    assert trigrams[0, 3] == trigrams[1, 5]  # 5 6 7
    assert bigrams[0, 2] == bigrams[0, 5] == bigrams[1, 4]  # 5 6
    assert trigrams[0, 2] != trigrams[0, 5], "the one begins the name"
    assert bigrams[0, 2] != hash_ngrams(torch.tensor([[6, 5]]), 2)[0, 1], "order matters"


def test_hashes_are_spread_over_the_buckets_and_fit_them() -> None:
    codes = torch.randint(0, 60_000, (2000, 12), generator=torch.Generator().manual_seed(1))
    for order in (1, 2, 3, 6):
        hashed = hash_ngrams(codes, order)
        assert hashed.min() >= 0
        assert hashed.max() < 2**31
        fill = torch.bincount(hashed.flatten() % 64, minlength=64).float()
        assert fill.max() / fill.mean() < 1.5


def test_every_weight_is_trained_by_a_batch_that_uses_it(names) -> None:
    model = Classifier(params(dropout=0.0, ngram_dropout=0.0), 40, 3)
    (*_, batch) = load_batches(names, evaluation_order(names, 8), torch.device("cpu"))
    torch.nn.functional.cross_entropy(model(batch.codes), batch.labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_dropout_of_whole_ngrams_leaves_the_characters_alone() -> None:
    model = Classifier(params(dropout=0.0, ngram_dropout=0.999), 40, 3).train()
    codes = torch.arange(3, 23).view(2, 10)
    torch.testing.assert_close(model.embed(codes), model.characters(codes[:, 1:-1]))


def test_dropped_characters_are_unknown_ones_and_marks_are_never_dropped() -> None:
    model = Classifier(params(character_dropout=0.5), 40, 3)
    codes = torch.arange(3, 40).repeat(200, 1)
    codes[:, 0], codes[:, -1] = BEGIN, END
    dropped = model.drop_characters(codes)
    changed = dropped != codes
    assert (dropped[changed] == UNKNOWN).all()
    assert not changed[:, 0].any() and not changed[:, -1].any()
    assert changed[:, 1:-1].float().mean() == pytest.approx(0.5, abs=0.02)


def test_nothing_is_dropped_when_names_are_judged(names) -> None:
    model = Classifier(params(character_dropout=0.9), 40, 3).eval()
    (*_, batch) = load_batches(names, evaluation_order(names, 8), torch.device("cpu"))
    torch.testing.assert_close(model(batch.codes), model(batch.codes), rtol=0, atol=0)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_states_that_foretell_a_character_have_not_met_it(cell) -> None:
    model = Classifier(params(cell=cell, layers=1), 40, 3).eval()
    codes = torch.randint(3, 40, (1, 9), generator=torch.Generator().manual_seed(1))
    codes[:, 0], codes[:, -1] = BEGIN, END
    forwards = model.read(codes)[1][..., :5]
    for place in range(2, 8):
        other = codes.clone()
        other[0, place] = 3 + (codes[0, place] - 2) % 37
        changed = (model.read(other)[1][..., :5] - forwards).abs().amax((1, 2)) > 1e-6
        assert changed.tolist() == [step >= place - 1 for step in range(7)]


@pytest.mark.parametrize("name", ["a", "ab", "abc"])
def test_ngrams_of_the_end_mark_count_in_the_last_character(name) -> None:
    model = Classifier(params(), 40, 3).eval()
    codes = torch.tensor([[0, *map(ord, name), 1]]) % 37
    expected = model.characters(codes[:, 1:-1])[0]
    found = model.ngrams(codes)[0].sum(1)  # by the position where they end
    for position in range(len(name)):
        expected[position] = expected[position] + found[position + 1]
    expected[-1] = expected[-1] + found[-1]
    torch.testing.assert_close(model.embed(codes)[0], expected)
