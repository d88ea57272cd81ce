"""What a training step costs with many countries: python -m tests.benchmarks.labels.

Trains the model of params.yaml on made-up names, with numbers of countries and sizes of batches
that take turns; prints the median names per second of each.
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path

import numpy as np

from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.model.classifier import Classifier
from stages.training.distributed import Runtime
from stages.training.trainer import Trainer

CHARACTERS, NAMES, STEPS = 80, 40_000, 15


def made_up(countries: int) -> Names:
    """Names of 4 to 12 characters, of which some are frequent, as in a language."""
    random = np.random.default_rng(1)
    offsets = np.concatenate([[0], random.integers(6, 15, NAMES).cumsum()])
    codes = (random.zipf(1.3, offsets[-1]) % CHARACTERS + 2).astype(np.uint16)
    codes[offsets[:-1]], codes[offsets[1:] - 1] = 0, 1  # BOS and EOS
    return Names(codes, offsets, random.integers(0, countries, NAMES), np.zeros(NAMES, bool))


def main() -> None:
    """Train in turn; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--countries", type=int, nargs="+", default=[34, 176])
    parser.add_argument("--batches", type=int, nargs="+", default=[256])
    args = parser.parse_args()
    params = Params.load(Path("params.yaml"))
    trainers, rates = {}, {}
    for countries, size in itertools.product(args.countries, args.batches):
        settings = params.train.model_copy(update={"device": "cpu", "batch_size": size})
        runtime = Runtime.create(settings)
        model = Classifier(params.model, CHARACTERS + 2, countries)
        trainers[countries, size] = Trainer(model, settings, made_up(countries), runtime)
        rates[countries, size] = []
    order = np.random.default_rng(1).permutation(NAMES)
    for _ in range(args.rounds + 1):
        for (countries, size), trainer in trainers.items():
            started = time.process_time()
            for step in range(STEPS):
                trainer.train_step(order[step * size : (step + 1) * size])
            rates[countries, size].append(STEPS * size / (time.process_time() - started))
    print("names per second of processor time, without the first round\n")
    print("| countries |" + "|".join(f" batches of {size} " for size in args.batches) + "|")
    print("|---:|" + "---:|" * len(args.batches))
    for countries in args.countries:
        cells = [f" {statistics.median(rates[countries, size][1:]):,.0f} " for size in args.batches]
        print(f"| {countries} |" + "|".join(cells) + "|")


if __name__ == "__main__":
    main()
