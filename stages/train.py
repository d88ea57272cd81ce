"""Stage train: the index -> a trained model, and accuracy and loss per epoch.

Reads data/index; writes data/model, metrics/train (DVCLive) and metrics/epochs.json. A killed
training resumes from its last checkpoint when it is run again.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch.distributed as dist
from dvclive import Live
from scipy.special import softmax

from stages.core.errors import UserError, exit_code
from stages.core.files import rounded, write_metrics
from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.serving.config import KINDS, Config
from stages.serving.measure import calibrated, name_kinds
from stages.serving.torch_bundle import save
from stages.training.checkpoint import Checkpoints, fingerprint, loaded_code
from stages.training.distributed import Runtime, launch, process_group
from stages.training.features import choose_features
from stages.training.inference import all_logits
from stages.training.trainer import Metrics, Trainer

INDEX, MODEL = Path("data/index"), Path("data/model")
CURVES, EPOCHS = Path("metrics/train"), Path("metrics/epochs.json")
EVALUATED = ("validation", "test")  # splits, after each epoch
CHECKPOINTS = Path(".checkpoints/train")


def main() -> None:
    """Run the stage, in ``train.processes`` processes."""
    params = Params.load(Path("params.yaml"))
    if params.train.processes > 1 and not dist.is_torchelastic_launched():
        return launch("stages.train", params.train)
    with process_group(params.train) as runtime:
        train(params, runtime)


def train(params: Params, runtime: Runtime) -> None:
    """Train; rank 0 writes the results."""
    index = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))
    splits = {path.parent.name: Names.load(path.parent) for path in INDEX.glob("*/labels.npy")}
    machine = runtime.provenance()
    checkpoints = Checkpoints(CHECKPOINTS, identify(params, runtime))
    vocabulary, countries = Vocabulary.from_config(index["vocabulary"]), tuple(index["countries"])
    model = Classifier(params.model, len(vocabulary), len(countries), vocabulary.blank)
    model = model.to(runtime.device)
    names, size = splits["train"], params.evaluate.batch_size
    weights = sum(parameter.numel() for parameter in model.parameters())
    computing = f"{runtime.device}, {machine['precision']}"
    print(f"train: {weights:,} weights, {len(names):,} names, {computing}")
    if model.wide:
        choose_features(model.wide, names)
    levels = [params.corpus.set_levels[kind] for kind in KINDS[params.corpus.names]]
    config = Config(
        model=params.model.model_dump(),
        vocabulary=vocabulary,
        countries=countries,
        normalize=params.ingest.normalize,
        max_length=params.ingest.max_length,
        temperatures=[1.0] * len(levels),
        names=params.corpus.names,
        groups=Config.groups_of(countries, params.corpus.groups),
        training_names=np.bincount(names.labels, minlength=len(countries)).tolist(),
        population=params.corpus.description,
        provenance={**machine, "arithmetic": params.train.arithmetic},
    )
    kinds = name_kinds(config, names)
    trainer = Trainer(model, params.train, names, runtime, kinds, len(levels))
    evaluated = {name: splits[name] for name in sorted(splits)[::-1] if name in EVALUATED}
    curves = Live(str(CURVES), save_dvc_exp=False, dvcyaml=None) if runtime.rank == 0 else None
    with curves or nullcontext():
        trainer.fit(evaluated, lambda metrics: log(curves, metrics), checkpoints, size)
    if runtime.rank > 0:
        return
    write_metrics(EPOCHS, by_epoch(trainer.position.history))
    if rows := splits.get("calibration"):
        logits = all_logits(model, rows, size)
        prior = softmax((1 - params.train.logit_adjustment) * trainer.log_priors, axis=1)
        config = calibrated(config, names, rows, logits, prior, levels)
        temperatures = " and ".join(f"{number:.3f}" for number in config.temperatures)
        print(f"train: temperature {temperatures}, from {len(rows)} held-out rows")
    save(MODEL, config, model)
    checkpoints.remove()


def identify(params: Params, runtime: Runtime) -> str:
    """Fingerprint of all that the result depends on.

    Raises:
        UserError: the processes differ in it.
    """
    machine = runtime.provenance()
    facts = (runtime.device.type, machine["precision"], runtime.world_size, machine["torch"])
    data = [path for path in INDEX.rglob("*") if path.is_file()]
    own = fingerprint([params.model_dump_json(), *map(str, facts)], [*loaded_code(), *data])
    if runtime.any(own != runtime.broadcast(own)):
        raise UserError(
            "the processes differ in code, params.yaml, data/index, kind of device or torch; "
            "make these the same on every machine"
        )
    return own


def log(live: Live | None, metrics: Metrics) -> None:
    """Write one epoch's metrics as DVCLive's curves: train/loss, test/accuracy and so on."""
    if live:
        live.step += 1
        for name, value in metrics.items():
            live.log_metric(name.replace("_", "/", 1), rounded(value))
        live.make_summary()  # type: ignore[no-untyped-call]


def by_epoch(history: list[Metrics]) -> dict[str, dict[str, float]]:
    """Epoch numbers as keys, since DVC's metrics are scalars: lists are dropped."""
    width = max(2, len(str(len(history))))
    return {
        name: {f"{epoch:0{width}d}": past[name] for epoch, past in enumerate(history, 1)}
        for name in sorted(history[0])
    }


if __name__ == "__main__":
    sys.exit(exit_code(main))
