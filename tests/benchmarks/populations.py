"""Errors of estimated shares in simulated populations.

    python tests/benchmarks/populations.py [--names 10000] [--draws 200]

Run in a checkout with data/clean and data/onnx. Each population is drawn with replacement from the
test names, with other shares of the countries than in training. The error is the total variation
distance from the true shares; "covered" is the share of the intervals that contain the truth.
"""

import argparse

import numpy as np
import pandas as pd

from stages.serving.bundle import load
from stages.serving.shares import population_shares

# Shares of some countries; the others have the rest, in the proportions of training.
POPULATIONS: dict[str, dict[str, float] | None] = {
    "as in training": {},
    "60 % English": {"English": 0.6},
    "Iberian": {"Spanish": 0.45, "Portuguese": 0.25, "French": 0.1},
    "Slavic": {"Ukrainian": 0.4, "Czech": 0.25, "Polish": 0.2, "Russian": 0.05},
    "Nordic": {"Swedish": 0.5, "Finnish": 0.3, "German": 0.1},
    "uniform": None,
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--names", type=int, default=10_000)
    options.add_argument("--draws", type=int, default=200)
    args = options.parse_args()
    model = load("data/onnx")
    held_out = model.held_out
    assert held_out is not None
    test = pd.read_parquet("data/clean/test.parquet")
    answers = model.ask(test["name"].tolist())
    usable = answers.reasons == 0
    labels = test["country"].map({name: n for n, name in enumerate(model.countries)}).to_numpy()
    pools = [np.flatnonzero(usable & (labels == n)) for n in range(len(model.countries))]
    random = np.random.default_rng(1)
    print("| population | error | of the plain mean | ratio | covered |\n|---|---:|---:|---:|---:|")
    for title, shares in POPULATIONS.items():
        truth = mix(shares, held_out.prior, model.countries)
        rows = []
        for draw in range(args.draws):
            counts = random.multinomial(args.names, truth)
            names = np.concatenate(
                [random.choice(p, n) for p, n in zip(pools, counts, strict=True)]
            )
            table = answers.probabilities[names]
            mean = table.mean(axis=0)
            estimate = population_shares(table, mean, held_out, 50, draw)
            errors = [np.abs(shares - truth).sum() / 2 for shares in (estimate.shares, mean)]
            covered = (estimate.lower <= truth) & (truth <= estimate.upper)
            rows.append([*errors, covered.mean()])
        error, plain, covered = np.mean(rows, axis=0)
        print(f"| {title} | {error:.3f} | {plain:.3f} | {error / plain:.2f} | {covered:.2f} |")


def mix(shares: dict[str, float] | None, prior: np.ndarray, countries: tuple[str, ...]):
    """(countries,) true shares of a population."""
    if shares is None:
        return np.full(len(countries), 1 / len(countries))
    own = np.array([shares.get(name, 0.0) for name in countries])
    rest = np.where(own > 0, 0.0, prior)
    return own + rest / rest.sum() * (1 - own.sum())


if __name__ == "__main__":
    main()
