"""Where the time of a training step goes: python tests/benchmarks/profile_step.py [--threads N].

Needs data/index (dvc repro index); uses params.yaml. Prints milliseconds per step and the table of
torch's profiler.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from torch.profiler import profile

from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.training.distributed import Runtime
from stages.training.trainer import Trainer

INDEX = Path("data/index")
WARM_UP, STEPS = 5, 40


def steps(trainer: Trainer, count: int) -> tuple[float, float]:
    """Wall and processor seconds per step."""
    order = np.random.default_rng(1).permutation(len(trainer.names))
    size = trainer.params.batch_size
    start = time.perf_counter(), time.process_time()
    for step in range(count):
        trainer.train_step(order[step * size : (step + 1) * size])
    wall, processor = time.perf_counter() - start[0], time.process_time() - start[1]
    return wall / count, processor / count


def main() -> None:
    """Measure without, then with the profiler."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    params = Params.load(Path("params.yaml"))
    runtime = Runtime.create(params.train.model_copy(update={"threads": threads, "device": "cpu"}))
    index = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))
    codes = len(Vocabulary.from_config(index["vocabulary"]))
    model = Classifier(params.model, codes, len(index["countries"]))
    trainer = Trainer(model, params.train, Names.load(INDEX / "train"), runtime)
    if trainer.steps < STEPS:
        raise SystemExit(f"the corpus has fewer than {STEPS} batches")
    steps(trainer, WARM_UP)
    wall, processor = steps(trainer, STEPS)
    print(f"{wall * 1e3:.1f} ms per step, {processor * 1e3:.1f} ms of processor time")
    with profile() as found:
        steps(trainer, STEPS)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))


if __name__ == "__main__":
    main()
