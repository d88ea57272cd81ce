"""Errors of estimated shares in simulated populations.

    python -m tests.benchmarks.populations [--names 10000] [--draws 20]

Run in a checkout with data/clean and data/onnx. Each population is drawn with replacement from the
test names, or from the people of `tests.benchmarks.persons` by surname or by full name, with other
shares of the countries than in training; a country without names there has none. The error is the
total variation distance from the true shares; "covered" is the share of the intervals that contain
the truth.
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from stages.serving.bundle import load
from stages.serving.shares import Population
from tests.benchmarks.persons import people, persons

# Shares of some countries; the others have the rest, in the proportions of training.
POPULATIONS: dict[str, dict[str, float] | None] = {
    "as in training": {},
    "60 % English": {"English": 0.6},
    "Iberian": {"Spanish": 0.45, "Portuguese": 0.25, "French": 0.1},
    "Slavic": {"Ukrainian": 0.4, "Czech": 0.25, "Polish": 0.2, "Russian": 0.05},
    "Nordic": {"Swedish": 0.5, "Finnish": 0.3, "German": 0.1},
    "uniform": None,
}


def names_to_draw() -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Yield what the names are, the names, and their countries."""
    test = pd.read_parquet("data/clean/test.parquet")
    yield "test names", test["name"].tolist(), test["country"].tolist()
    known = people() + persons()
    countries = [one.country for one in known]
    yield "people by surname", [one.surname for one in known], countries
    yield "people by full name", [one.full_name for one in known], countries


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description="Errors of shares in simulated populations.")
    options.add_argument("--names", type=int, default=10_000)
    options.add_argument("--draws", type=int, default=20)
    args = options.parse_args()
    model = load("data/onnx")
    random, numbers = np.random.default_rng(1), {name: n for n, name in enumerate(model.countries)}
    training = np.array(model.config.training_names) / sum(model.config.training_names)
    print("| names | population | error | of the plain mean | ratio | covered |")
    print("|---|---|---:|---:|---:|---:|")
    for which, names, countries in names_to_draw():
        answers = model.ask(names)
        labels = np.array([numbers[country] for country in countries])
        pools = [np.flatnonzero((answers.reasons == 0) & (labels == n)) for n in numbers.values()]
        for title, shares in POPULATIONS.items():
            truth = mix(shares, training, model.countries) * [len(pool) > 0 for pool in pools]
            truth /= truth.sum()
            rows = []
            for draw in range(args.draws):
                counts = random.multinomial(args.names, truth)
                drawn = np.concatenate(
                    [random.choice(p, n) for p, n in zip(pools, counts, strict=True) if n]
                )
                population = Population(model.countries, model.held_out, seed=draw)
                population.add(
                    answers.probabilities[drawn], answers.reasons[drawn], answers.kinds[drawn]
                )
                found, mean = population.estimate(), population.total / population.used
                errors = [np.abs(shares - truth).sum() / 2 for shares in (found.shares, mean)]
                covered = (found.lower <= truth) & (truth <= found.upper)
                rows.append([*errors, covered.mean()])
            error, plain, covered = np.mean(rows, axis=0)
            scores = f"{error:.3f} | {plain:.3f} | {error / plain:.2f} | {covered:.2f}"
            print(f"| {which} | {title} | {scores} |", flush=True)


def mix(shares: dict[str, float] | None, prior: np.ndarray, countries: tuple[str, ...]):
    """(countries,) true shares of a population."""
    if shares is None:
        return np.full(len(countries), 1 / len(countries))
    own = np.array([shares.get(name, 0.0) for name in countries])
    rest = np.where(own > 0, 0.0, prior)
    return own + rest / rest.sum() * (1 - own.sum())


if __name__ == "__main__":
    main()
