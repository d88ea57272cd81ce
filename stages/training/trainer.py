"""The training loop: one epoch at a time, resumable after any step."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.core.errors import UserError
from stages.core.params import Params, TrainParams
from stages.core.runtime import seed_generator
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.training.batches import Rows, TrainingOrder, load_batches
from stages.training.checkpoint import State
from stages.training.distributed import Group


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
        group: Group | None = None,
    ) -> None:
        """Begin with the model as it is.

        Args:
            model: on the device.
            names: to learn from.
            params: how.
            device: where.
            precision: what products are computed in.
            group: of processes that train together; None if this one is alone.

        Raises:
            UserError: there are more processes than a step has batches, or the second task can
                see what it is to foretell.
        """
        self.model, self.names, self.params = model, names, params
        self.device, self.precision = device, precision
        self.group = group or Group()
        if self.group.count > params.lengths_per_step:
            raise UserError(
                f"{self.group.count} processes share a step's {params.lengths_per_step} batches; "
                "raise train.lengths_per_step, or lower train.processes"
            )
        if (
            params.next_character
            and model.recurrent.bidirectional
            and model.recurrent.num_layers > 1
        ):
            raise UserError(
                "train.next_character: the upper of several layers have read the name to its end; "
                "set it to 0, model.layers to 1, or model.bidirectional to false"
            )
        self.position = Position()
        self._steps = -(-len(self._batches(1)) // params.lengths_per_step)
        self.learned = nn.ModuleDict({"model": model})
        if params.next_character:
            codes = model.characters.num_embeddings
            self.learned["next"] = nn.Linear(model.recurrent.hidden_size, codes, device=device)
        for parameter in self.learned.parameters():
            parameter.grad = torch.zeros_like(parameter)
        # A dense gradient of a table would be a fresh tensor of the table's size for each batch;
        # a sparse one is added to what is there. (CUDA's allocator keeps such tensors at hand,
        # and mps has no sparse ones.)
        for table in (model.ngrams, model.wide):
            table.sparse = device.type == "cpu"
        wide = list(model.wide.parameters())
        named = self.learned.named_parameters()
        deep = [p for name, p in named if not name.startswith("model.wide.")]
        self.optimizer = torch.optim.AdamW(
            [{"params": deep, "rate": 1.0}, {"params": wide, "rate": params.wide_rate}],
            betas=(0.9, params.beta2),
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
        batches, mixed = self._batches(here.epoch), self.params.lengths_per_step
        while here.step < self._steps:
            # A step mixes lengths: countries differ in the length of their names, so that steps
            # on one length would pull the weights to and fro.
            first = here.step * mixed
            loss, hits, names = self._step(
                [batches[n] for n in range(first, min(first + mixed, len(batches)))]
            )
            here.step += 1
            here.names += names
            here.loss += loss
            here.hits += hits
            after_step(names)
        result = {"train_loss": here.loss / here.names, "train_accuracy": here.hits / here.names}
        self.position = Position(epoch=here.epoch + 1, history=here.history)
        return result

    def _batches(self, epoch: int) -> TrainingOrder:
        size = max(1, self.params.batch_size // self.params.lengths_per_step)
        return TrainingOrder(self.names, size, self.params.seed, epoch)

    def _step(self, batches: list[Rows]) -> tuple[float, int, int]:
        """Move the weights once; return the loss summed over names, the hits and the names."""
        params, here = self.params, self.position
        for part in self.optimizer.param_groups:
            part["lr"] = self._learning_rate() * part["rate"]
        names = sum(map(len, batches))
        totals = torch.zeros(2, dtype=torch.float64)  # loss, hits
        self.optimizer.zero_grad(set_to_none=False)
        mine = self.group.share([self._cost(rows) for rows in batches])
        for place, batch in zip(
            mine, load_batches(self.names, [batches[n] for n in mine], self.device), strict=True
        ):
            # Dropout depends on the batch alone: not on who computes it, nor on a restart.
            seed_generator(self.device, _seed(params.seed, here.epoch, here.step, place))
            with torch.autocast(
                self.device.type, self.precision, enabled=self.precision != torch.float32
            ):
                logits, states = self.model.read(batch.codes)
                next_loss = self._next_character_loss(states, batch.codes)
            loss = cross_entropy(
                logits.float(),
                batch.labels,
                label_smoothing=params.label_smoothing,
                reduction="sum",
            )
            total = (loss + params.next_character * next_loss) / names
            total.backward()  # type: ignore[no-untyped-call]
            hits = (logits.argmax(1) == batch.labels).sum()
            totals += torch.stack([loss.detach(), hits]).cpu()
        gradients = [w.grad for w in self.learned.parameters() if w.grad is not None]
        self.group.add_up([totals, *gradients])
        summed = float(totals[0])
        if not math.isfinite(summed):
            raise UserError(
                f"the loss is {summed / names} in epoch {here.epoch}, batch "
                f"{here.step + 1}; lower train.learning_rate, or set train.precision "
                "to float32"
            )
        self.optimizer.step()
        return summed, int(totals[1]), names

    def _next_character_loss(self, states: Tensor, codes: Tensor) -> Tensor:
        """Of foretelling each character by the states before it: nats, summed over names.

        A second task that teaches the layer what names look like, whatever their country (Rei,
        Semi-supervised Multitask Learning for Sequence Labeling, 2017). Forwards only: what reads
        backwards has met the character before in its n-grams. And not the end mark, whose
        n-grams are the last character's.
        """
        following = codes[:, 2:-1].T
        if not self.params.next_character or not len(following):
            return torch.zeros((), device=self.device)
        forwards = states[:-1, :, : self.model.recurrent.hidden_size]
        logits = self.learned["next"](self.model.dropout(forwards)).float()
        loss = cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="sum")
        return loss / len(following)

    def _cost(self, rows: Rows) -> int:
        """How much work a batch is, about: each position costs something, and each name there."""
        first = int(rows[0])
        length = int(self.names.offsets[first + 1] - self.names.offsets[first])
        return length * (len(rows) + 50)

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
        tensors = self.learned.state_dict()
        for number, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{slot}": value for slot, value in slots.items()}
        tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
        return State(tensors, vars(self.position))

    def restore(self, state: State) -> None:
        """Undo everything since ``state`` was taken, in this process or an earlier one."""
        learned: dict[str, Tensor] = {}
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in state.tensors.items():
            if name.startswith("optimizer."):
                _, number, slot = name.split(".")
                slots.setdefault(int(number), {})[slot] = value
            else:
                learned[name] = value
        self.learned.load_state_dict(learned)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        facts: dict[str, Any] = dict(state.facts)
        self.position = Position(**facts)


def begin(
    params: Params,
    index: Mapping[str, Any],
    names: Names,
    device: torch.device,
    precision: torch.dtype,
    group: Group | None = None,
) -> Training:
    """Draw the weights of a classifier that is to learn from ``names``.

    Args:
        params: of model and training, whose seed decides the weights.
        index: configuration of the vocabulary, and the countries.
        names: to learn from.
        device: where.
        precision: what products are computed in.
        group: of processes that train together; None if this one is alone.
    """
    torch.manual_seed(params.train.seed)
    codes = len(Vocabulary.from_config(index["vocabulary"]))
    model = Classifier(params.model, codes, len(index["countries"])).to(device)
    return Training(model, names, params.train, device, precision, group)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _seed(*place: int) -> int:
    """A seed for torch's generator that no other place has."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])
