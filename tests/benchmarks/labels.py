"""What a training step costs with many countries.

    python -m tests.benchmarks.labels [--rounds 7]

Trains the model of params.yaml on made-up names, with numbers of countries that take turns; prints
the median names per second of processor time of each, without the first round.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from stages.core.params import Params
from stages.corpus.dataset import Names
from stages.model.classifier import Classifier
from stages.training.distributed import Runtime
from stages.training.features import choose_features
from stages.training.trainer import Trainer
from tests.benchmarks.common import in_turns, options, print_table, seconds

CHARACTERS, NAMES, STEPS, BATCH = 80, 40_000, 15, 256


def made_up(countries: int) -> Names:
    """Names of 4 to 12 characters, of which some are frequent, as in a language."""
    random = np.random.default_rng(1)
    offsets = np.concatenate([[0], random.integers(6, 15, NAMES).cumsum()])
    codes = (random.zipf(1.3, offsets[-1]) % CHARACTERS + 2).astype(np.uint16)
    codes[offsets[:-1]], codes[offsets[1:] - 1] = 0, 1  # BOS and EOS
    return Names(codes, offsets, random.integers(0, countries, NAMES), np.zeros(NAMES, bool))


def training(countries: int) -> Callable[[], float]:
    """A function that trains for some steps, and gives its seconds of processor time."""
    params = Params.load(Path("params.yaml"))
    settings = params.train.model_copy(update={"device": "cpu", "batch_size": BATCH})
    model, names = Classifier(params.model, CHARACTERS + 2, countries), made_up(countries)
    choose_features(model.wide, names)
    trainer = Trainer(model, settings, names, Runtime.create(settings))
    batches = np.random.default_rng(1).permutation(NAMES)[: STEPS * BATCH].reshape(STEPS, BATCH)

    def train() -> None:
        for batch in batches:
            trainer.train_step(batch)

    return partial(seconds, train, time.process_time)


def main() -> None:
    args = options(__doc__, rounds=7, countries=[34, 176]).parse_args()
    times = in_turns({count: training(count) for count in args.countries}, args.rounds + 1)
    medians = {count: statistics.median(column[1:]) for count, column in times.items()}
    rows = ((count, f"{STEPS * BATCH / median:,.0f}") for count, median in medians.items())
    print_table(("countries", "names/s"), rows, texts=0)


if __name__ == "__main__":
    main()
