"""Errors of estimated shares in simulated populations.

    python -m tests.benchmarks.populations [--names 10000] [--draws 20]

Run in a checkout with data/clean and data/onnx. Each population is drawn with replacement from the
test names, or from the people of `tests.benchmarks.persons` by surname or by full name, with other
shares of the countries than in training; a country without names there has none. The error is the
total variation distance from the true shares, in brackets that of the mean of the probabilities;
"covered" is the share of the intervals that contain the truth.
"""

from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.serving.bundle import load
from stages.serving.predictor import Predictor
from tests.benchmarks.common import clean, options, print_table
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
Shares = NDArray[np.floating]


def true_shares(shares: dict[str, float] | None, model: Predictor) -> Shares:
    """(countries,) shares of a population."""
    if shares is None:
        return np.full(len(model.countries), 1 / len(model.countries))
    own = np.array([shares.get(country, 0.0) for country in model.countries])
    rest = np.where(own > 0, 0.0, model.config.training_names)
    return own + rest / rest.sum() * (1 - own.sum())


def simulate(
    model: Predictor, names: list[str], countries: list[str], truth: Shares, size: int, draws: int
) -> tuple[str, str]:
    """Draw populations from the names; give their mean errors and the share covered."""
    random = np.random.default_rng(1)
    table = pd.DataFrame({"name": names, "country": countries})[model.ask(names).reasons == 0]
    pools = table.groupby("country")["name"].apply(list).reindex(model.countries, fill_value=[])
    truth = truth * (pools.str.len() > 0)
    truth /= truth.sum()
    rows = []
    for _ in range(draws):
        counts = random.multinomial(size, truth)
        parts = [random.choice(p, n) for p, n in zip(pools, counts, strict=True) if n]
        found = pd.DataFrame(model.shares(np.concatenate(parts))["shares"]).set_index("country")
        found = found.loc[truth.index]
        covered = (found["lower"] <= truth) & (truth <= found["upper"])
        errors = (found[["share", "plain"]].sub(truth, axis=0)).abs().sum() / 2
        rows.append([*errors, covered.mean()])
    error, plain, covered = np.mean(rows, axis=0)
    return f"{error:.3f} ({plain:.3f})", f"{covered:.2f}"


def main() -> None:
    args = options(__doc__, names=10_000, draws=20).parse_args()
    model, known = load("data/onnx"), pd.concat([people(), persons()])
    full_names = known["full_name"].where(known["full_name"] != "", known["surname"])
    kinds = {
        "test names": clean("test"),
        "people, surname": (known["surname"].tolist(), known["country"].tolist()),
        "people, full name": (full_names.tolist(), known["country"].tolist()),
    }
    header = ["population", *(cell for kind in kinds for cell in (kind, "covered"))]

    def row(population: str) -> list[str]:
        truth = true_shares(POPULATIONS[population], model)
        cells = (simulate(model, *each, truth, args.names, args.draws) for each in kinds.values())
        return [population, *chain.from_iterable(cells)]

    print_table(header, map(row, POPULATIONS))


if __name__ == "__main__":
    main()
