"""The trainer: what it learns, and that it resumes to the same bits."""

import itertools
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from stages.core.errors import Terminated, UserError
from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.model.wide import SHORT
from stages.training.checkpoint import Checkpoints
from stages.training.distributed import Runtime
from stages.training.features import choose_features
from stages.training.inference import all_logits
from stages.training.trainer import Trainer, log_priors
from tests.conftest import ROOT

RUNTIME = Runtime(torch.device("cpu"))
WORDS = ["abcabcabc", "bcabcabca", "cabcabcab", "abcabc", "bcabca", "cabcab"] * 20


def encoded(words: list[str], labels: np.ndarray) -> Names:
    codes, offsets = Vocabulary("keep", ("LATIN",), tuple("abc")).encode(words)
    return Names(codes, offsets, labels, np.zeros(len(words), bool))


@pytest.fixture
def names() -> Names:
    """Names whose labels say nothing."""
    return encoded(WORDS, np.random.default_rng(1).integers(0, 3, len(WORDS)))


def trainer(
    names: Names, model: dict | None = None, kinds: np.ndarray | None = None, **train: object
) -> Trainer:
    """A trainer of a small model, for names of one kind, or of two."""
    torch.manual_seed(1)
    params = Params.load(Path(ROOT / "params.yaml"))
    small = {"hidden": 8, "embedding": 8, "wide_frequent": 64, "wide_rare": 64, "layers": 1}
    shape = params.model.model_copy(update=small | (model or {}))
    settings = params.train.model_copy(
        update={"epochs": 8, "learning_rate": 0.02, "batch_size": 32} | train
    )
    classifier = Classifier(shape, int(names.codes.max()) + 1, 3)
    choose_features(classifier.wide, names)
    return Trainer(classifier, settings, names, RUNTIME, kinds, 1 if kinds is None else 2)


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in trainer.model.parameters()]


def stop_in_step(trainer: Trainer, step: int, number: int) -> None:
    """Have a signal come in a step, before the weights are updated."""
    steps = itertools.count(1)

    def send_signal(*_: object) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), number)

    trainer.optimizers[-1].register_step_pre_hook(send_signal)


def test_fit_learns_what_the_labels_say() -> None:
    names = encoded(WORDS, np.array([len(word) == 9 for word in WORDS], dtype=np.int64))
    seen = []
    trainer(names).fit({"test": names}, seen.append)
    assert len(seen) == 8
    assert seen[-1]["test_accuracy"] == 1.0
    assert seen[-1]["test_loss"] < seen[0]["test_loss"]


def test_logit_adjustment_moves_the_probabilities_from_the_shares_of_training_towards_equal() -> (
    None
):
    labels = np.zeros(len(WORDS), np.int64)
    labels[::10], labels[5::10] = 1, 2  # 8 in 10 names are of country 0, whatever their letters
    names = encoded(["abc"] * len(WORDS), labels)
    shares = []
    for adjustment in (0.5, 1.0):
        settings = {"label_smoothing": 0.0, "epochs": 40, "logit_adjustment": adjustment}
        trained = trainer(names, {"dropout": 0.0, "character_dropout": 0.0}, **settings)
        trained.fit({}, lambda metrics: None)
        logits = all_logits(trained.model, encoded(["abc"], labels[:1]), 1)
        shares.append(softmax(logits, axis=1)[0, 0])
    middle = 0.8**0.5 / (0.8**0.5 + 2 * 0.1**0.5)
    assert shares == pytest.approx([middle, 1 / 3], abs=0.05)


def test_small_gradients_of_the_linear_term_are_small_first_steps_above_an_accumulator_of_0() -> (
    None
):
    names = encoded(WORDS, np.random.default_rng(1).integers(0, 3, len(WORDS)))
    ratios = []
    for start in (0.0, 1e-4):
        trained = trainer(names, schedule="constant", wide_accumulator=start)
        trained.train_step(np.arange(len(WORDS)))
        steps = trained.model.wide.frequent.weight.detach().abs()
        ratios.append(float(steps[steps > 0].min() / steps.max()))
    assert ratios[0] > 0.99 and ratios[1] < 0.5


def test_each_kind_of_name_is_moved_from_its_own_shares() -> None:
    """Country 0 has most names of one kind, country 1 of the other; equal shares are left."""
    rows = np.arange(len(WORDS))
    kinds = rows % 2
    labels = np.where(rows % 20 < 16, kinds, 2)
    words = np.array(["abc", "cba"])[kinds].tolist()
    settings = {"label_smoothing": 0.0, "epochs": 40, "logit_adjustment": 1.0}
    shape = {"dropout": 0.0, "character_dropout": 0.0}
    trained = trainer(encoded(words, labels), shape, kinds, **settings)
    trained.fit({}, lambda metrics: None)
    logits = all_logits(trained.model, encoded(words[:2], labels[:2]), 2)
    for kind in (0, 1):
        assert softmax(logits, axis=1)[kind, [kind, 2]] == pytest.approx([1 / 2, 1 / 2], abs=0.1)


def test_log_priors_leave_no_country_impossible_in_a_kind() -> None:
    labels, kinds = np.array([0] * 100 + [1] * 50), np.array([0] * 100 + [1] * 50)
    counts = np.array([[100, 1, 1], [2, 50, 1]])  # a fiftieth of the other kind's, at least one
    found = np.exp(log_priors(labels, kinds, (2, 3)))
    assert found == pytest.approx(counts / counts.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_a_stopped_training_resumes_to_the_same_bits(names, tmp_path, schedule) -> None:
    whole, history = trainer(names, schedule=schedule), []
    whole.fit({"test": names}, history.append)
    for step in (1, 4, 11):  # an epoch has four steps
        checkpoints = Checkpoints(tmp_path, f"run-{step}")
        first = trainer(names, schedule=schedule)
        stop_in_step(first, step, signal.SIGTERM)
        with pytest.raises(Terminated, match="stopped by SIGTERM; run again to resume"):
            first.fit({"test": names}, lambda _: None, checkpoints)
        second, again = trainer(names, schedule=schedule), []
        second.fit({"test": names}, again.append, checkpoints)
        assert again == history
        assert all(map(torch.equal, weights(whole), weights(second)))


def test_ctrl_c_in_the_evaluation_after_the_last_step_stops_training_too(names, tmp_path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGINT; run again to resume"):
        trainer(names, epochs=1).fit(
            {}, lambda _: os.kill(os.getpid(), signal.SIGINT), Checkpoints(tmp_path, "run")
        )
    assert signal.getsignal(signal.SIGINT) == handler


def test_the_order_of_names_depends_on_the_seed(names) -> None:
    one, other = trainer(names, epochs=1), trainer(names, epochs=1, seed=2)
    for each in (one, other):
        each.fit({}, lambda _: None)
    assert not all(map(torch.equal, weights(one), weights(other)))


def test_a_loss_of_nan_names_epoch_and_batch_and_the_last_good_checkpoint_stays(
    names, tmp_path
) -> None:
    checkpoints = Checkpoints(tmp_path, "run")
    after_each_step = {"checkpoint_minutes": 1e-9}
    for _ in range(2):  # the second resumes where the first stopped
        stopped = trainer(names, learning_rate=1e30, schedule="constant", **after_each_step)
        with pytest.raises(UserError, match=r"the loss is nan in epoch 1, batch 3; lower train"):
            stopped.fit({}, lambda _: None, checkpoints)
        saved = checkpoints.latest()
        assert saved and saved["position"]["step"] == 2


def test_a_step_changes_only_the_weights_of_its_features(names) -> None:
    small = trainer(names, {"character_dropout": 0.0, "wide_frequent": 20})
    wide = small.model.wide
    small.train_step(np.array([0]))
    codes = torch.from_numpy(names.codes[: names.offsets[1]].astype(np.int64))[None]
    hashes, _, counted = wide.features(codes, codes, torch.ones_like(codes, dtype=torch.bool))
    for keys, table, shortest in (
        (wide.frequent_keys, wide.frequent, 0),
        (wide.rare_keys, wide.rare, SHORT),
    ):
        changed = keys[table.weight.detach().abs().sum(1) > 0]
        used = hashes[:, :, shortest:][counted[:, :, shortest:]]
        assert len(changed) > 0
        assert torch.equal(changed, keys[torch.isin(keys, used)])
