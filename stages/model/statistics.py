"""What held-out rows say about a classifier's answers: prediction sets, shares of a population.

Held-out rows are labelled names that the model was not trained on. NumPy and SciPy only.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from stages.model.familiarity import BITS

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

COVERAGE = 0.9  # share of names whose country is in their set: the promise
LEVEL = 0.92  # what the thresholds aim at: quantiles of few rows err
PRIOR_ROWS = 10  # rows that the threshold of all countries counts as, for each country
LOWEST = 1e-6  # probabilities below this count as this: float32 has few digits there
LEVELS = 16  # stored values for each unit of the log of a probability
MOST_ROWS, MOST_CELLS = 4096, 2**20  # of held-out rows in a bundle
TYPES = {
    "prior": "<f8",
    "thresholds": "<f8",
    "labels": "<u2",
    "probabilities": "<u1",
    "scripts": "<i2",
    "measures": "<f4",
    "ngrams": "<u1",
}
STEPS, TOLERANCE = 500, 1e-5  # of expectation maximisation: most steps, and when to stop


def set_thresholds(probabilities: Floats, labels: Integers, countries: int) -> Floats:
    """The lowest probability with which each country belongs to a name's prediction set.

    Split conformal prediction with a quantile for each country (Mondrian; Vovk, Gammerman &
    Shafer, Algorithmic Learning in a Random World, 2005). The quantile of a country with few
    rows is moved towards that of all countries, on the scale of log odds, as if `PRIOR_ROWS`
    rows had it: in place of the clusters of Ding et al., Class-Conditional Conformal Prediction
    with Many Classes (2023).

    Args:
        probabilities: (rows, countries) of held-out rows.
        labels: (rows,) their true countries.
        countries: number of countries.

    Returns:
        (countries,) thresholds for `prediction_sets`.
    """
    odds = logit(np.clip(probabilities[np.arange(len(labels)), labels], LOWEST, 1 - LOWEST))

    def lowest_kept(values: Floats) -> float:
        outside = int(np.floor((1 - LEVEL) * (len(values) + 1)))
        return float(np.sort(values)[max(outside - 1, 0)])

    thresholds = np.full(countries, lowest_kept(odds))
    for country in np.unique(labels):
        own = odds[labels == country]
        weight = len(own) / (len(own) + PRIOR_ROWS)
        thresholds[country] += weight * (lowest_kept(own) - thresholds[country])
    return np.asarray(expit(thresholds))


def prediction_sets(probabilities: Floats, thresholds: Floats) -> NDArray[np.bool_]:
    """(names, countries): which countries are in each set; the most probable one always is."""
    best = probabilities == probabilities.max(axis=1, keepdims=True)
    return np.asarray((probabilities >= thresholds) | best)


def estimate_shares(
    probabilities: Floats, prior: Floats, weights: Floats | None = None
) -> NDArray[np.float64]:
    """Shares of the countries in a population whose mix differs from that of training.

    Expectation maximisation under label shift (Saerens, Latinne & Decaestecker, Adjusting the
    Outputs of a Classifier to New a Priori Probabilities, 2002).

    Args:
        probabilities: (names, countries).
        prior: (countries,) shares under which the probabilities hold.
        weights: (names,) how often each name occurs; once by default.
    """
    weights = np.ones(len(probabilities)) if weights is None else weights
    ratios = probabilities / np.maximum(prior, LOWEST)
    shares = np.array(prior, dtype=np.float64)
    for _ in range(STEPS):
        posteriors = ratios * shares
        posteriors /= posteriors.sum(axis=1, keepdims=True)
        before, shares = shares, weights @ posteriors / weights.sum()
        if np.abs(shares - before).sum() < TOLERANCE:
            break
    return shares


def reweight(probabilities: Floats, prior: Floats, shares: Floats) -> Floats:
    """Probabilities in a population with these shares (Bayes' rule), see `estimate_shares`."""
    posteriors = probabilities * (shares / np.maximum(prior, LOWEST))
    return np.asarray(posteriors / posteriors.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Shares:
    """Shares of the countries in a population.

    Attributes:
        shares: (countries,)
        lower: (countries,) of 95 % intervals.
        upper: (countries,)
        shifted: whether the mix differs from that of training; if not, ``shares`` is the mean
            of the probabilities.
    """

    shares: Floats
    lower: Floats
    upper: Floats
    shifted: bool


def population_shares(
    probabilities: Floats,
    mean: Floats,
    prior: Floats,
    held_out: Floats,
    labels: Integers,
    resamples: int = 100,
    seed: int = 1,
) -> Shares:
    """Estimate shares and their intervals.

    The intervals come from a bootstrap of two levels (Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993): held-out rows are resampled within each country, a population with the
    estimated shares is drawn from them, and its shares are estimated; the root mean square of the
    errors counts what the names and what the model leave uncertain. Populations with the mix of
    training, drawn the same way, say how far an estimate lies from it by chance.

    Args:
        probabilities: (names, countries) of a population, or of a random sample of it.
        mean: (countries,) mean of the probabilities of the whole population.
        prior: (countries,) shares of the training rows.
        held_out: (rows, countries) probabilities of held-out rows.
        labels: (rows,) their true countries.
        resamples: draws of the bootstrap.
        seed: of the draws.
    """
    random, names = np.random.default_rng(seed), len(probabilities)
    known = np.bincount(labels, minlength=len(prior)) > 0

    def draws(shares: Floats) -> list[Floats]:
        """Weights of the held-out rows in populations with these shares."""
        drawn: list[Floats] = []
        for _ in range(resamples):
            chance = np.zeros(len(labels))
            for country in np.flatnonzero(known):
                rows = np.flatnonzero(labels == country)
                counts = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)))
                chance[rows] = shares[country] * counts / len(rows)
            drawn.append(random.multinomial(names, chance / chance.sum()).astype(np.float64))
        return drawn

    shares = estimate_shares(probabilities, prior)
    chances = [np.abs(estimate_shares(held_out, prior, w) - prior).sum() for w in draws(prior)]
    shifted = bool(np.abs(shares - prior).sum() > np.quantile(chances, 0.95))
    if not shifted:
        shares = np.asarray(mean, dtype=np.float64)
    errors = [
        (estimate_shares(held_out, prior, w) if shifted else w @ held_out / names) - shares
        for w in draws(shares)
    ]
    half = 1.96 * np.sqrt(np.mean(np.square(errors), axis=0))
    half = np.where(known, half, 1.0)  # a country without held-out rows: nothing is known
    return Shares(shares, np.maximum(shares - half, 0), np.minimum(shares + half, 1), shifted)


@dataclass(frozen=True)
class HeldOut:
    """What a bundle keeps of the held-out rows.

    Attributes:
        prior: (countries,) shares of the training rows.
        thresholds: (countries,) for `prediction_sets`.
        labels: (rows,) true countries; of many rows, an evenly spaced part is kept.
        probabilities: (rows, countries)
        scripts: (rows,) for `Familiarity`.
        measures: (rows, 2) for `Familiarity`.
        ngrams: bits of an `NgramSet`.
    """

    prior: Floats
    thresholds: Floats
    labels: Integers
    probabilities: Floats
    scripts: Integers
    measures: Floats
    ngrams: NDArray[np.uint8]

    def to_config(self) -> dict[str, str]:
        """As JSON values: little-endian arrays in base64."""
        step = -(-len(self.labels) // max(1, min(MOST_ROWS, MOST_CELLS // len(self.prior))))
        rows = slice(None, None, max(step, 1))
        levels = np.rint(-np.log(np.clip(self.probabilities[rows], LOWEST, 1)) * LEVELS)
        kept = {
            "prior": self.prior,
            "thresholds": self.thresholds,
            "labels": self.labels[rows],
            "probabilities": levels,
            "scripts": self.scripts[rows],
            "measures": self.measures[rows],
            "ngrams": self.ngrams,
        }
        return {
            name: base64.b64encode(np.asarray(values).astype(TYPES[name]).tobytes()).decode()
            for name, values in kept.items()
        }

    @classmethod
    def from_config(cls, config: Mapping[str, str], countries: int) -> Self:
        """Undo `to_config`.

        Raises:
            ValueError: the arrays do not fit together.
        """
        if config.keys() != TYPES.keys():
            raise ValueError(f"held_out needs {', '.join(TYPES)}")
        found = {
            name: np.frombuffer(base64.b64decode(config[name], validate=True), dtype)
            for name, dtype in TYPES.items()
        }
        rows = len(found["labels"])
        found["measures"] = found["measures"].reshape(rows, 2)
        levels = found["probabilities"].reshape(rows, countries)
        raw = np.exp(levels / -LEVELS)
        found["probabilities"] = raw / raw.sum(axis=1, keepdims=True)
        if not (
            found["prior"].shape == found["thresholds"].shape == (countries,)
            and found["scripts"].shape == (rows,)
            and found["ngrams"].shape == (2**BITS // 8,)
            and (found["labels"] < countries).all()
            and np.isfinite(found["measures"]).all()
            and (found["prior"] >= 0).all()
            and (found["thresholds"] >= 0).all()
        ):
            raise ValueError("the arrays of held_out do not fit together")
        return cls(**found)
