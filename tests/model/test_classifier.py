"""The classifier: what its parts compute, and that padding changes nothing."""

import numpy as np
import pytest
import torch

from stages.core.params import ModelParams
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import BEGIN, END, UNICODE, UNKNOWN, Vocabulary, codepoints
from stages.model.classifier import Classifier, last_state
from stages.model.wide import real_codes
from stages.training.batches import collate
from stages.training.features import choose_features
from tests.serving.made import tiny_params

WORDS = ["Abe", "O", "Li", "Müller", "Ng", "Nguyen", "O'Brien", "Smith", "Kowalski", "Poe", "Sato"]
CPU = torch.device("cpu")


def params(**changes: object) -> ModelParams:
    """Of a model that has all parts, each of another width."""
    parts = {"embedding": 6, "hidden": 5, "layers": 2, "bidirectional": True, "wide_ngrams": 3}
    wide = {"wide_frequent": 40, "wide_rare": 60, "character_dropout": 0.0}
    return tiny_params(**(parts | wide | changes))


@pytest.fixture
def names() -> Names:
    counts = np.bincount(codepoints("".join(WORDS)), minlength=UNICODE)
    codes, offsets = Vocabulary.from_counts(counts, "keep", 1).encode(WORDS)
    return Names(codes, offsets, np.arange(len(WORDS)) % 3, np.zeros(len(WORDS), bool))


def classifier(names: Names, **changes: object) -> Classifier:
    model = Classifier(params(**changes), 40, 3)
    choose_features(model.wide, names)
    return model


def one_at_a_time(model: Classifier, names: Names) -> torch.Tensor:
    """Logits of each name in a batch of its own."""
    pieces = zip(names.offsets, names.offsets[1:], strict=False)
    codes = [torch.from_numpy(names.codes[start:end].astype(np.int64)) for start, end in pieces]
    return torch.cat([model(piece[None]) for piece in codes])


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_evaluated_in_a_padded_batch_equals_one_at_a_time_with_nothing_dropped(
    names, cell, bidirectional
) -> None:
    torch.manual_seed(1)
    options = {"cell": cell, "bidirectional": bidirectional, "character_dropout": 0.9}
    model = classifier(names, **options).eval()
    for table in (model.wide.frequent, model.wide.rare):
        torch.nn.init.normal_(table.weight)
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


def test_every_weight_is_trained_by_a_batch_that_uses_it(names) -> None:
    model = classifier(names, dropout=0.0)
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
