"""Stage train: the index -> a trained model, and accuracy and loss per epoch while it runs.

Reads data/index; writes data/model, metrics/train (DVCLive) and metrics/epochs.json. Killed at
any moment, it goes on from its last checkpoint when it is run again.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from pathlib import Path

import torch
from dvclive import Live
from filelock import FileLock

from stages.core.errors import Interrupted, UserError, exit_code
from stages.core.files import write_json
from stages.core.interrupt import StopRequest
from stages.core.params import Params
from stages.core.progress import Progress
from stages.core.runtime import make_reproducible, select_device, select_precision
from stages.corpus.dataset import Names
from stages.model import bundle
from stages.model.classifier import Classifier
from stages.training.beside import Beside
from stages.training.calibration import temperature_of
from stages.training.checkpoint import Checkpoints, fingerprint
from stages.training.distributed import Group, launched, local_rank, together, writes
from stages.training.inference import loss_and_accuracy
from stages.training.trainer import Training, begin

INDEX = Path("data/index")
MODEL = Path("data/model")
CURVES = Path("metrics/train")
EPOCHS = Path("metrics/epochs.json")
CHECKPOINTS = Path(".checkpoints/train")
LOCK = Path(".onoma/train.lock")
CALIBRATION_LOCK = Path(".onoma/calibration.lock")


def main() -> None:
    """Run the stage, in as many processes as are wanted."""
    processes = Params.load(Path("params.yaml")).train.processes
    if processes > 1 and not launched():
        from stages.training.launcher import launch  # slow to import, and seldom needed

        launch(work, processes)
    else:
        work()


def work(ancestors: list[int] | None = None) -> None:
    """Train, alone or together with others.

    Args:
        ancestors: see `StopRequest`.
    """
    params = Params.load(Path("params.yaml"))
    device, precision = prepare(params)
    with together(device) as group, quiet(unless=group.first):
        train(params, device, precision, group, StopRequest(ancestors))


def prepare(params: Params) -> tuple[torch.device, torch.dtype]:
    """Choose device and precision; fix what else decides the last bit, for this process."""
    device = select_device(params.train.device, local_rank())
    make_reproducible(params.train.seed, params.train.threads)
    return device, select_precision(params.train.precision, device)


def train(
    params: Params,
    device: torch.device,
    precision: torch.dtype,
    group: Group,
    stop: StopRequest,
) -> None:
    """Train; the first process of the group writes what comes of it."""
    index = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))
    splits = {
        split: Names.load(INDEX / split)
        for split in ("train", "validation", "calibration", "test")
        if (INDEX / split).exists()
    }
    held_out = splits.pop("calibration", None)
    run = run_fingerprint(params, device, precision)
    if group.any(run != group.from_first(run)):
        raise UserError(
            "the processes differ in code, params.yaml, data/index, kind of device or torch; "
            "make these the same on every machine"
        )

    def score(model: Classifier) -> dict[str, float]:
        found = {}
        for split in [split for split in ("validation", "test") if split in splits]:
            found[f"{split}_loss"], found[f"{split}_accuracy"] = loss_and_accuracy(
                model, splits[split], params.evaluate.batch_size, device, precision, group
            )
        return found

    with stop, ExitStack() as stack:
        names, calibration, temperature = splits["train"], None, 1.0
        if held_out and params.train.refit:
            names = Names.joined(names, held_out)
            if group.first:
                print("train: a second training, for the temperature, runs beside this one")
                calibration = Beside(calibrate, params, run, [os.getpid(), *stop.ancestors])
                stack.enter_context(calibration)
        training = begin(params, index, names, device, precision, group)
        print(
            f"train: {sum(p.numel() for p in training.model.parameters()):,} weights, "
            f"{len(names):,} names, {device}, {str(precision).removeprefix('torch.')}"
        )
        live = stack.enter_context(curves(group))
        finish(training, Checkpoints(CHECKPOINTS, run), stop, score, live)
        # All wait: processes that trained together leave together.
        while group.any(calibration is not None and not calibration.ready(within=1)):
            if group.any(bool(stop.reason)):
                raise stopped(stop)
        if not group.first:
            return
        if calibration:
            temperature = calibration.result()
        elif held_out:
            temperature = temperature_of(
                training.model, held_out, params.evaluate.batch_size, device
            )
        if held_out:
            print(f"train: temperature {temperature:.3f}, from {len(held_out)} held-out rows")
    write_json(EPOCHS, by_epoch(training.position.history))
    bundle.save(
        MODEL,
        bundle.Config(
            model=params.model,
            vocabulary=bundle.VocabularyConfig(**index["vocabulary"]),
            countries=index["countries"],
            normalize=params.ingest.normalize,
            max_length=params.ingest.max_length,
            temperature=temperature,
            provenance={
                "torch": torch.__version__,
                "device": str(device),
                "precision": str(precision).removeprefix("torch."),
                "threads": params.train.threads,
            },
        ),
        training.model,
    )
    Checkpoints(CHECKPOINTS, run).remove()


def calibrate(params: Params, run: str, ancestors: list[int]) -> float:
    """Fit the temperature for a model that is trained on all rows, in a process of its own.

    How sure to be is for a training to say that does not meet the held-out rows; what these teach
    is for the model that is kept (as CalibratedClassifierCV with ensemble=False). Without a word,
    since the other training speaks meanwhile.

    Args:
        params: as for `train`.
        run: fingerprint of the training that asks.
        ancestors: see `StopRequest`.
    """
    device, precision = prepare(params)
    index = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))
    # One whose parent was killed may still be at its last checkpoint.
    with StopRequest(ancestors) as stop, quiet(), FileLock(CALIBRATION_LOCK):
        training = begin(params, index, Names.load(INDEX / "train"), device, precision)
        finish(training, Checkpoints(CHECKPOINTS, f"{run}-calibration"), stop)
        held_out = Names.load(INDEX / "calibration")
        return temperature_of(training.model, held_out, params.evaluate.batch_size, device)


def finish(
    training: Training,
    checkpoints: Checkpoints,
    stop: StopRequest,
    score: Callable[[Classifier], dict[str, float]] = lambda _: {},
    live: Live | None = None,
) -> None:
    """Train to the end, from the last checkpoint on if there is one.

    Args:
        training: not yet begun.
        checkpoints: of this training.
        stop: heeded after each step.
        score: numbers of a model that are wanted after each epoch.
        live: where to log the numbers.
    """
    group, state = training.group, None
    if group.first:
        state = checkpoints.latest(lambda path: print(f"train: {path} is damaged: removed"))
    if state := group.from_first(state):
        training.restore(state)
        here = training.position
        if not training.finished:
            print(f"train: going on from a checkpoint: epoch {here.epoch}, batch {here.step + 1}")
    for past in training.position.history:
        log(live, past)
    while not training.finished:
        result = run_epoch(training, checkpoints, stop) | score(training.model)
        if not all(map(math.isfinite, result.values())):
            raise UserError(
                f"the loss is not finite after epoch {training.position.epoch - 1}; "
                "lower train.learning_rate, or set train.precision to float32"
            )
        training.position.history.append(result)
        log(live, result)
        save(checkpoints, training)
        if group.any(bool(stop.reason)) and not training.finished:
            raise stopped(stop)


def run_epoch(training: Training, checkpoints: Checkpoints, stop: StopRequest) -> dict[str, float]:
    """Train one epoch, or its rest; leave a checkpoint behind now and then, and when stopped."""
    params, here = training.params, training.position
    saved = started = time.monotonic()
    title = f"epoch {here.epoch}/{params.epochs}"
    left = len(training.names) - here.names
    with Progress(title, total=left) as progress:

        def after_step(names: int) -> None:
            nonlocal saved
            progress.advance(names)
            if training.group.any(bool(stop.reason)):
                save(checkpoints, training)
                raise stopped(stop)
            if time.monotonic() - saved > 60 * params.checkpoint_minutes:
                save(checkpoints, training)
                saved = time.monotonic()

        result = training.run_epoch(after_step)
        seconds = time.monotonic() - started
        progress.say(
            f"{title}: loss {result['train_loss']:.4f}, accuracy {result['train_accuracy']:.4f}, "
            f"{left / seconds:,.0f} names/s"
        )
    return result


def stopped(stop: StopRequest) -> Interrupted:
    """What to raise once the training is kept."""
    reason = stop.reason or "another process"
    return Interrupted(f"training stopped by {reason}; run again to go on from here")


def save(checkpoints: Checkpoints, training: Training) -> None:
    """Keep the training as it is now."""
    here = training.position
    if training.group.first:
        checkpoints.save(here.epoch * 10**9 + here.step, training.state())


@contextmanager
def quiet(unless: bool = False) -> Iterator[None]:
    """Print nothing: one process speaks for all."""
    if unless:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def curves(group: Group) -> AbstractContextManager[Live | None]:
    """Where the first process of the group writes numbers per epoch."""
    if not group.first:
        return nullcontext()
    return Live(str(CURVES), save_dvc_exp=False, dvcyaml=None)


def log(live: Live | None, result: dict[str, float]) -> None:
    """Write one epoch's numbers as DVCLive's curves: train/loss, test/accuracy and so on."""
    if not live:
        return
    live.step += 1
    for name, value in result.items():
        live.log_metric(name.replace("_", "/", 1), value)
    live.make_summary()  # type: ignore[no-untyped-call]


def by_epoch(history: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Epoch numbers as keys, since DVC's metrics know scalars but no lists."""
    width = max(2, len(str(len(history))))
    return {
        name: {f"{epoch:0{width}d}": past[name] for epoch, past in enumerate(history, 1)}
        for name in sorted(history[0])
    }


def run_fingerprint(params: Params, device: torch.device, precision: torch.dtype) -> str:
    """Tell this training from any other: code, data, parameters, and what computes it."""
    code = [
        Path(module.__file__)
        for name, module in sorted(sys.modules.items())
        if name.startswith("stages.") and module.__file__
    ]
    # As many processes as you like may go on from it: they change the last digits only.
    alone = params.train.model_copy(update={"processes": 1})
    params = params.model_copy(update={"train": alone})
    data = [path for path in sorted(INDEX.rglob("*")) if path.is_file()]
    facts = [params.model_dump_json(), device.type, str(precision), torch.__version__]
    return fingerprint(facts, [Path(__file__), *code, *data])


if __name__ == "__main__":
    # Several processes of one training hold the lock once.
    sys.exit(exit_code(main, LOCK if writes() else None))
