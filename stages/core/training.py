"""The training loop: one epoch at a time, resumable after any step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stages.core.batches import Rows, load_batches, training_order
from stages.core.checkpoint import State
from stages.core.classifier import Classifier
from stages.core.dataset import Names
from stages.core.errors import UserError
from stages.core.params import TrainParams


@dataclass
class Position:
    """How far a training has come, and the sums of the epoch under way."""

    epoch: int = 1  # the one under way, from 1
    step: int = 0  # steps done in it
    loss: float = 0.0  # summed over names
    hits: int = 0
    names: int = 0
    history: list[dict[str, float]] = field(default_factory=list)  # one entry per finished epoch


class Training:
    """A classifier on its way; call `run_epoch` until `finished`."""

    def __init__(
        self,
        model: Classifier,
        names: Names,
        params: TrainParams,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.model, self.names, self.params = model, names, params
        self.device, self.precision = device, precision
        self.position = Position()
        self._steps = len(self._order(1))
        wide = list(model.wide.parameters())
        deep = [p for name, p in model.named_parameters() if not name.startswith("wide.")]
        self.optimizer = torch.optim.AdamW(
            [{"params": deep, "rate": 1.0}, {"params": wide, "rate": params.wide_rate}],
            weight_decay=params.weight_decay,
            fused=True,  # one walk over the tables per step instead of seven
        )

    @property
    def finished(self) -> bool:
        """Whether every epoch is done."""
        return self.position.epoch > self.params.epochs

    def run_epoch(self, after_step: Callable[[int], None]) -> dict[str, float]:
        """Train until the end of the epoch under way.

        Args:
            after_step: called after each step with the number of its names; may raise to stop,
                and `state` is then the place to go on from.

        Returns:
            ``train_loss`` (nats per name) and ``train_accuracy`` over the epoch's batches, as the
            model was when it met them, dropout included.
        """
        here = self.position
        self.model.train()
        for batches in self._order(here.epoch)[here.step :]:
            loss, hits, names = self._step(batches)
            here.step += 1
            here.names += names
            here.loss += loss
            here.hits += hits
            after_step(names)
        result = {"train_loss": here.loss / here.names, "train_accuracy": here.hits / here.names}
        self.position = Position(epoch=here.epoch + 1, history=here.history)
        return result

    def _order(self, epoch: int) -> list[list[Rows]]:
        """Rows of each step's batches; each batch has names of one length.

        A step mixes lengths: countries differ in the length of their names, so that steps on one
        length would pull the weights to and fro. (Its batches are independent draws, so a large
        bucket may give two of them.)
        """
        mixed = self.params.lengths_per_step
        size = max(1, self.params.batch_size // mixed)
        order = training_order(self.names, size, self.params.seed, epoch)
        return [order[n : n + mixed] for n in range(0, len(order), mixed)]

    def _step(self, order: list[Rows]) -> tuple[float, int, int]:
        """Move the weights once; return the loss summed over names, the hits and the names."""
        params = self.params
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate() * group["rate"]
        names = sum(map(len, order))
        total, hits = 0.0, 0
        self.optimizer.zero_grad()
        for batch in load_batches(self.names, order, self.device):
            with torch.autocast(
                self.device.type, self.precision, enabled=self.precision != torch.float32
            ):
                logits = self.model(batch.codes)
            loss = cross_entropy(
                logits.float(),
                batch.labels,
                label_smoothing=params.label_smoothing,
                reduction="sum",
            )
            (loss / names).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            hits += int((logits.argmax(1) == batch.labels).sum())
        if not math.isfinite(total):
            raise UserError(
                f"the loss is {total / names} in epoch {self.position.epoch}, batch "
                f"{self.position.step + 1}; lower train.learning_rate, or set train.precision "
                "to float32"
            )
        self.optimizer.step()
        return total, hits, names

    def _learning_rate(self) -> float:
        """Of the step to come.

        One cycle (Smith & Topin, Super-Convergence, 2018): up along a cosine for 30 % of the
        steps, then down to almost nothing.
        """
        peak = self.params.learning_rate
        if self.params.schedule == "constant":
            return peak
        done = (self.position.epoch - 1) * self._steps + self.position.step
        share = done / (self.params.epochs * self._steps)
        rise = 0.3
        if share < rise:
            return peak * _cosine(0.04, 1.0, share / rise)
        return peak * _cosine(1.0, 1e-4, (share - rise) / (1 - rise))

    def state(self) -> State:
        """All that decides what comes next."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for number, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{slot}": value for slot, value in slots.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        elif self.device.type == "mps":
            tensors["random.mps"] = torch.mps.get_rng_state()
        tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
        return State(tensors, vars(self.position))

    def restore(self, state: State) -> None:
        """Undo everything since ``state`` was taken, in this process or an earlier one."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
        for name, value in state.tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = value
        self.model.load_state_dict(parts["model"])
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            number, slot = name.split(".")
            slots.setdefault(int(number), {})[slot] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        torch.set_rng_state(parts["random"]["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(parts["random"]["cuda"], self.device)
        elif self.device.type == "mps":
            torch.mps.set_rng_state(parts["random"]["mps"])
        facts: dict[str, Any] = dict(state.facts)
        self.position = Position(**facts)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
