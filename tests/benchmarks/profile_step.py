"""Where the time of a training step goes: python tests/benchmarks/profile_step.py [--threads N].

Needs data/index (dvc repro index); uses params.yaml. Prints milliseconds per step and the table of
torch's profiler.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.profiler import profile

from stages.core.params import Params
from stages.core.runtime import make_reproducible
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.training.trainer import Training

INDEX = Path("data/index")
WARM_UP, STEPS = 5, 40


class EnoughError(Exception):
    """The steps are done."""


def steps(training: Training) -> tuple[float, float]:
    """Wall and processor seconds per step, after a warm-up."""
    done, start = 0, (0.0, 0.0)

    def after_step(names: int) -> None:
        nonlocal done, start
        done += 1
        if done == WARM_UP:
            start = time.perf_counter(), time.process_time()
        if done == WARM_UP + STEPS:
            raise EnoughError

    try:
        training.run_epoch(after_step)
    except EnoughError:
        wall, processor = time.perf_counter() - start[0], time.process_time() - start[1]
        return wall / STEPS, processor / STEPS
    raise SystemExit(f"the corpus has less than {WARM_UP + STEPS} batches")


def main() -> None:
    """Measure without, then with the profiler."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    params = Params.load(Path("params.yaml"))
    make_reproducible(params.train.seed, threads)
    index = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))
    codes = len(Vocabulary.from_config(index["vocabulary"]))
    model = Classifier(params.model, codes, len(index["countries"]))
    names = Names.load(INDEX / "train")
    training = Training(model, names, params.train, torch.device("cpu"), torch.float32)
    wall, processor = steps(training)
    print(f"{wall * 1e3:.1f} ms per step, {processor * 1e3:.1f} ms of processor time")
    training = Training(model, names, params.train, torch.device("cpu"), torch.float32)
    with profile() as found:
        steps(training)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))


if __name__ == "__main__":
    main()
