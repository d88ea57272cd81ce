"""The training loop; it resumes after any step."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from torch.optim import Adagrad, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR

from stages.core.errors import UserError
from stages.core.params import TrainParams
from stages.core.progress import progress
from stages.core.signals import SIGNALS, deferred_signals
from stages.corpus.dataset import Names
from stages.model.classifier import Classifier
from stages.training.batches import Rows, collate
from stages.training.checkpoint import Checkpoints, State
from stages.training.distributed import Runtime, stop
from stages.training.inference import loss_and_accuracy

Metrics = dict[str, float]
MIXED = 0.02  # weight of a name in the prior of other kinds of names


@dataclass
class Position:
    """How far a training is, and the sums over the current epoch."""

    epoch: int = 1
    step: int = 0  # steps done in the epoch
    loss: float = 0.0  # summed over names
    correct: int = 0
    names: int = 0
    history: list[Metrics] = field(default_factory=list)  # one entry per finished epoch


class Trainer:
    """Trains a classifier: `fit` runs the epochs, `train_step` updates the weights once."""

    def __init__(
        self,
        model: Classifier,
        params: TrainParams,
        names: Names,
        runtime: Runtime,
        kinds: Rows | None = None,
        number_of_kinds: int = 1,
    ) -> None:
        """Start with the model as it is.

        Args:
            model: on the runtime's device.
            params: how to train.
            names: the training split.
            runtime: device, precision and processes.
            kinds: (names,) the kind of each name; None if all are of one kind.
            number_of_kinds: the number of kinds that there are.
        """
        self.model, self.params, self.names, self.runtime = model, params, names, runtime
        self.position = Position()
        self.kinds = np.zeros(len(names), dtype=np.uint8) if kinds is None else kinds
        shape = (number_of_kinds, model.logits.out_features)
        self.log_priors = log_priors(names.labels, self.kinds, shape)
        self._log_priors = torch.from_numpy(self.log_priors).float().to(runtime.device)
        self.steps = math.ceil(len(names) / params.batch_size)  # per epoch
        # The wide term's table is most of the weights, and a batch has few of its rows: Adagrad
        # updates these alone. It suits weights that are seen rarely, and decays none of them.
        wide = list(model.wide.parameters()) if model.wide else []
        deep = [parameter for name, parameter in model.named_parameters() if name[:5] != "wide."]
        rate = params.learning_rate
        self.optimizers: list[Optimizer] = [
            AdamW(deep, rate, weight_decay=params.weight_decay, fused=True)
        ]
        if wide:
            # Its first step of a weight is as long as the rate, however small the gradient is: that
            # of a rare feature for a country would be as large as for its own.
            start = params.wide_accumulator
            optimizer = Adagrad(wide, rate * params.wide_rate, initial_accumulator_value=start)
            self.optimizers.append(optimizer)
        self.schedules = [self.schedule(optimizer) for optimizer in self.optimizers]
        self._parts: list[Any] = [model, *self.optimizers, *self.schedules]  # which have a state

    def schedule(self, optimizer: Optimizer) -> LRScheduler:
        """What sets the optimizer's learning rate before each step."""
        if self.params.schedule == "constant":
            return ConstantLR(optimizer, factor=1.0)
        # Smith & Topin, Super-Convergence, 2018.
        steps = max(self.params.epochs * self.steps, 2)
        rate = optimizer.defaults["lr"]
        return OneCycleLR(optimizer, rate, steps, final_div_factor=400, cycle_momentum=False)

    def fit(
        self,
        splits: Mapping[str, Names],
        on_epoch: Callable[[Metrics], None],
        checkpoints: Checkpoints | None = None,
        batch_size: int = 1024,
    ) -> None:
        """Train to the last epoch, from the last checkpoint if there is one.

        Args:
            splits: names to evaluate after each epoch, by the name of their split.
            on_epoch: function that is called with the metrics of each epoch, those of an earlier
                run included.
            checkpoints: where the state is saved after each epoch, every
                ``train.checkpoint_minutes``, and when training is stopped; None saves nothing.
            batch_size: names per batch of the evaluation.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM came; the state after the current step is saved.
            UserError: the loss is not finite.
        """
        if checkpoints:
            self.resume(checkpoints)
        for metrics in self.position.history:
            on_epoch(metrics)
        with deferred_signals() as received:
            while (epoch := self.position.epoch) <= self.params.epochs:
                metrics = self.train_epoch(checkpoints, received)
                for split, names in splits.items():
                    metrics[f"{split}_loss"], metrics[f"{split}_accuracy"] = loss_and_accuracy(
                        self.model, names, batch_size, self.runtime
                    )
                self.require_finite(list(metrics.values()), f"after epoch {epoch}")
                self.position = Position(epoch + 1, history=[*self.position.history, metrics])
                on_epoch(metrics)
                self.save(checkpoints)
        if received:
            stop(received[0])

    def train_epoch(self, checkpoints: Checkpoints | None, received: list[int]) -> Metrics:
        """Train the rest of the current epoch; return its ``train_loss`` and ``train_accuracy``.

        Both are means over the epoch, with dropout, of the model as it was at each step.

        Args:
            checkpoints: as in `fit`.
            received: numbers of the signals that have come.
        """
        here, params = self.position, self.params
        order = np.random.default_rng((params.seed, here.epoch)).permutation(len(self.names))
        title, names_before = f"epoch {here.epoch}/{params.epochs}", here.names
        saved = started = time.monotonic()
        with progress(title, total=len(order) - names_before) as bar:
            for step in range(here.step, self.steps):
                rows = order[step * params.batch_size : (step + 1) * params.batch_size]
                self.train_step(rows)
                bar.update(len(rows))
                stopped = self.runtime.any(bool(received))
                if stopped or time.monotonic() - saved > 60 * params.checkpoint_minutes:
                    self.save(checkpoints)
                    saved = time.monotonic()
                if stopped:
                    stop([*received, SIGNALS[0]][0])
            loss, accuracy = here.loss / here.names, here.correct / here.names
            rate = (here.names - names_before) / (time.monotonic() - started)
            bar.write(f"{title}: loss {loss:.4f}, accuracy {accuracy:.4f}, {rate:,.0f} names/s")
        return {"train_loss": loss, "train_accuracy": accuracy}

    def train_step(self, rows: Rows) -> None:
        """Update the weights once; each process computes a stride of ``rows``.

        Raises:
            UserError: the loss is not finite.
        """
        here, runtime, params = self.position, self.runtime, self.params
        # Dropout depends on the step alone, so a resumed training draws the same masks.
        seeds = np.random.SeedSequence((params.seed, here.epoch, here.step, runtime.rank))
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))
        self.model.train()
        self.model.zero_grad()
        mine = rows[runtime.rank :: runtime.world_size]
        # Without a name of its own a process computes one that does not count.
        batch = collate(self.names, mine if len(mine) else rows[:1], runtime.device)
        with runtime.autocast():
            logits = self.model(batch.codes, batch.lengths)
        kinds = torch.from_numpy(self.kinds[batch.rows].astype(np.int64))
        log_priors = self._log_priors[kinds.to(runtime.device)]
        adjusted = logits.float() + params.logit_adjustment * log_priors
        loss = cross_entropy(adjusted, batch.labels, label_smoothing=params.label_smoothing)
        (loss * len(mine) / len(rows)).backward()  # type: ignore[no-untyped-call]
        correct = (logits.argmax(1) == batch.labels)[: len(mine)].sum()
        totals = torch.stack([loss.detach() * len(mine), correct]).to("cpu", torch.float64)
        runtime.sum_gradients(self.model.parameters())
        runtime.all_reduce([totals])
        self.require_finite([totals[0].item()], f"in epoch {here.epoch}, batch {here.step + 1}")
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
        here.loss += totals[0].item()
        here.correct += int(totals[1])
        here.names += len(rows)
        here.step += 1

    def require_finite(self, values: list[float], where: str) -> None:
        """Raise a `UserError` if a loss is NaN or infinite."""
        if not all(map(math.isfinite, values)):
            raise UserError(
                f"the loss is {values[0]} {where}; lower train.learning_rate, "
                "or set train.precision to float32"
            )

    def save(self, checkpoints: Checkpoints | None) -> None:
        """Write a checkpoint."""
        if checkpoints and self.runtime.rank == 0:
            checkpoints.save(self.position.epoch * 10**9 + self.position.step, self.state())

    def resume(self, checkpoints: Checkpoints) -> None:
        """Load the last checkpoint that is whole, if there is one."""
        state = checkpoints.latest() if self.runtime.rank == 0 else None
        if state := self.runtime.broadcast(state):
            self.load_state(state)
            epoch, step = self.position.epoch, self.position.step
            if epoch <= self.params.epochs:
                print(f"train: resuming from a checkpoint: epoch {epoch}, batch {step + 1}")

    def state(self) -> State:
        """Everything that decides how the training goes on."""
        parts = [part.state_dict() for part in self._parts]
        return {"parts": parts, "position": vars(self.position)}

    def load_state(self, state: State) -> None:
        """Continue from ``state``, of this process or an earlier one."""
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        self.position = Position(**state["position"])


def log_priors(
    labels: NDArray[np.integer[Any]], kinds: Rows, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Array of this shape, (kinds, countries): log of the share of a kind's labels.

    Added to the logits in the loss, it leaves less of the shares to the model: the logits then
    hold for a population whose shares are closer to equal than those of the training names (Menon
    et al., Long-tail Learning via Logit Adjustment, 2021). So that no country is impossible in a
    kind, names of other kinds count `MIXED`, and at least one name counts.
    """
    counts = np.zeros(shape)
    np.add.at(counts, (kinds, labels), 1)
    counts = (counts + MIXED * (counts.sum(axis=0) - counts)).clip(min=1)
    return np.asarray(np.log(counts / counts.sum(axis=1, keepdims=True)))
