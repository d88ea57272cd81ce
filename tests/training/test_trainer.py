"""One training step after another: what it learns beside the countries."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.core.errors import UserError
from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import UNICODE, Vocabulary, codepoints
from stages.model.classifier import Classifier
from stages.training.checkpoint import Checkpoints
from stages.training.trainer import Training
from tests.conftest import ROOT

CPU = torch.device("cpu")
WORDS = ["abcabcabc", "bcabcabca", "cabcabcab", "abcabc", "bcabca", "cabcab"] * 20


@pytest.fixture
def names() -> Names:
    """Each character says which comes next, and the labels say nothing."""
    counts = np.bincount(codepoints("".join(WORDS)), minlength=UNICODE)
    codes, offsets = Vocabulary.from_counts(counts, "keep", 1).encode(WORDS)
    by_length = np.argsort(np.diff(offsets), kind="stable").astype(np.uint32)
    labels = np.random.default_rng(1).integers(0, 3, len(WORDS))
    return Names(codes, offsets, labels, np.zeros(len(WORDS), bool), by_length)


def start(names: Names, model: dict | None = None, **train: object) -> Training:
    """A training of a small model."""
    torch.manual_seed(1)
    params = Params.load(Path(ROOT / "params.yaml"))
    small = {"hidden": 8, "embedding": 8, "buckets": 64, "wide_buckets": 64, "layers": 1}
    shape = params.model.model_copy(update=small | (model or {}))
    settings = params.train.model_copy(update={"epochs": 8, "learning_rate": 0.02} | train)
    codes = int(names.codes.max()) + 1
    return Training(Classifier(shape, codes, 3), names, settings, CPU, torch.float32)


def loss_of_next_characters(training: Training, names: Names) -> float:
    """Nats per character of the first name."""
    codes = torch.from_numpy(names.codes[: int(names.offsets[1])].astype(np.int64))[None]
    training.model.eval()
    with torch.no_grad():
        _, states = training.model.read(codes)
        head = training.learned["next"]
        logits = head(states[:-1, 0, : training.model.recurrent.hidden_size])
        return float(torch.nn.functional.cross_entropy(logits, codes[0, 2:-1]))


def test_the_second_task_learns_what_comes_next(names) -> None:
    still = {"dropout": 0.0, "character_dropout": 0.0}
    training = start(names, still, next_character=1.0, epochs=40)
    before = loss_of_next_characters(training, names)
    while not training.finished:
        training.run_epoch(lambda done: None)
    assert loss_of_next_characters(training, names) < before / 4


def test_the_second_task_is_part_of_a_checkpoint_and_not_of_the_model(names, tmp_path) -> None:
    training = start(names, next_character=1.0)
    training.run_epoch(lambda done: None)
    checkpoints = Checkpoints(tmp_path, "test")
    checkpoints.save(1, training.state())
    again = start(names, next_character=1.0)
    again.restore(checkpoints.latest(pytest.fail))
    for both in (training, again):
        while not both.finished:
            both.run_epoch(lambda done: None)
    for one, two in zip(training.learned.parameters(), again.learned.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not any(name.startswith("next") for name in training.model.state_dict())


def test_names_of_one_character_have_nothing_to_foretell(names) -> None:
    counts = np.bincount(codepoints("".join(WORDS)), minlength=UNICODE)
    codes, offsets = Vocabulary.from_counts(counts, "keep", 1).encode(["a", "b"])
    by_length = np.arange(2, dtype=np.uint32)
    short = Names(codes, offsets, np.array([0, 1]), np.zeros(2, bool), by_length)
    training = start(short, next_character=1.0)
    assert np.isfinite(training.run_epoch(lambda done: None)["train_loss"])


def test_the_second_task_is_refused_where_it_could_look_ahead(names) -> None:
    with pytest.raises(UserError, match=r"train\.next_character.*model\.layers"):
        start(names, model={"layers": 2, "bidirectional": True}, next_character=0.1)
    start(names, model={"layers": 2, "bidirectional": False}, next_character=0.1)
    start(names, model={"layers": 2, "bidirectional": True}, next_character=0.0)
