"""Shares of the countries in a population, from the answers to its names. NumPy and SciPy only."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr

from stages.core.errors import UserError
from stages.serving.held_out import LOWEST, Floats, HeldOut, Integers, reweight
from stages.serving.prediction import REASONS

STEPS, TOLERANCE = 500, 1e-5  # of expectation maximisation: most steps, and when to stop
SAMPLE_CELLS = 2**19  # probabilities kept of a population at most: names x countries
Z = 1.96  # standard errors of a 95 % interval
FEW_NAMES, MUCH_UNSURE, MUCH = 100, 0.2, 0.05  # when a note says that an estimate is doubtful


class Shares(NamedTuple):
    """Shares of the countries in a population.

    Attributes:
        shares: (countries,) the estimates.
        lower: (countries,) the lower ends of the 95 % intervals.
        upper: (countries,) the upper ends.
        method: ``mean`` of the probabilities, since they fit the model's own shares; ``em``, an
            estimate of other shares; or ``prior``, the shares that the user gave.
    """

    shares: Floats
    lower: Floats
    upper: Floats
    method: str = "mean"


class Population:
    """What is kept of a population's names: counts, sums, and a random sample."""

    def __init__(self, countries: Sequence[str], held_out: HeldOut | None, seed: int) -> None:
        """Begin without names.

        Args:
            countries: the countries of the model.
            held_out: what the model's bundle keeps of held-out rows.
            seed: the seed of the sample.

        Raises:
            UserError: there are no held-out rows.
        """
        if held_out is None:
            raise UserError(
                "the model has no held-out rows; set index.calibration above 0 and run dvc repro"
            )
        self._countries, self._held_out = countries, held_out
        self.names = 0
        self.unsure: Counter[str] = Counter()
        self._kinds: Counter[int] = Counter()
        self.total = np.zeros(len(countries))
        self.sample = np.empty((0, len(countries)), dtype=np.float32)
        self._rate = 1.0  # share of the names that is in the sample
        self._keys = np.empty(0)
        self._random = np.random.default_rng(seed)
        self._most = max(SAMPLE_CELLS // len(countries), 100)

    @property
    def used(self) -> int:
        """Names with an answer."""
        return self.names - self.unsure.total()

    def add(self, probabilities: Floats, reasons: Integers, kinds: Integers) -> None:
        """Count names, as `Engine.ask` answers them; unusable ones have probabilities of NaN."""
        self.names += len(reasons)
        unusable = np.isnan(probabilities[:, 0])
        self.unsure["unusable"] += int(unusable.sum())
        for n, count in enumerate(np.bincount(reasons[~unusable], minlength=len(REASONS))):
            if n and count:
                self.unsure[str(REASONS[n])] += int(count)
        usable = probabilities[~unusable & (reasons == 0)]
        self._kinds.update(kinds[~unusable & (reasons == 0)].tolist())
        self.total += usable.sum(axis=0, dtype=np.float64)
        # Each name has a random number; those below a rate, which falls, are the sample.
        keys = self._random.random(len(usable))
        chosen = keys < self._rate
        self._keys = np.concatenate([self._keys, keys[chosen]])
        self.sample = np.concatenate([self.sample, usable[chosen]])
        while len(self.sample) > self._most:
            self._rate /= 2
            kept = self._keys < self._rate
            self._keys, self.sample = self._keys[kept], self.sample[kept]

    def estimate(self, prior: Floats | None = None) -> Shares:
        """The shares; of a population without usable names, nothing is known.

        Args:
            prior: (countries,) shares that are known, instead of an estimate.
        """
        nothing = np.zeros(len(self.total))
        if not self.used:
            return Shares(nothing, nothing, nothing + 1)
        if prior is None:
            estimate = population_shares(self.sample, self.total / self.used, self._rows())
        else:
            table = reweight(self.sample, self._held_out.prior, prior)
            shares = table.mean(axis=0)
            half = Z * table.std(axis=0) / np.sqrt(len(table))
            estimate = Shares(shares, shares - half, shares + half, "prior")
        # Wilson's interval, too: few names leave doubt even where all answers are alike.
        shares, lower, upper, method = estimate
        few = Z**2 / self.used
        middle = (shares + few / 2) / (1 + few)
        half = np.sqrt(few * shares * (1 - shares) + few**2 / 4) / (1 + few)
        lower, upper = np.minimum(lower, middle - half), np.maximum(upper, middle + half)
        return Shares(shares, np.maximum(lower, 0), np.minimum(upper, 1), method)

    def _rows(self) -> HeldOut:
        """The held-out rows of the most frequent kind of name, if they have the same countries."""
        rows, kind = self._held_out, self._kinds.most_common(1)[0][0]
        own = rows.kinds == kind
        if len(np.unique(rows.labels[own])) < len(np.unique(rows.labels)):
            return rows
        return replace(rows, labels=rows.labels[own], probabilities=rows.probabilities[own])

    def summary(self, prior: Floats | None = None) -> dict[str, Any]:
        """The result as JSON values: the largest share first; see `estimate` for ``prior``."""
        estimate = self.estimate(prior)
        effective = 0.0
        if self.used:
            # Names of known country that would tell as much: the share of entropy that is removed.
            before = entr(estimate.shares).sum()
            answers = reweight(self.sample, self._held_out.prior, estimate.shares)
            after = entr(answers).sum(axis=1).mean()
            effective = self.used * float(1 - after / before) if before > 0 else 0.0
        keys = ("share", "lower", "upper", "plain")
        columns = (*estimate[:3], self.total / max(self.used, 1))
        table = [
            {"country": country, **dict(zip(keys, values, strict=True))}
            for country, values in zip(
                self._countries, np.round(np.stack(columns, axis=1), 6).tolist(), strict=True
            )
        ]
        return {
            "names": self.names,
            "unsure": {reason: count for reason, count in self.unsure.items() if count},
            "effective_names": round(effective),
            "method": "prior" if prior is not None else estimate.method,
            "notes": self._notes(estimate.shares, effective),
            "shares": sorted(table, key=lambda row: -row["share"]) if self.used else [],
        }

    def _notes(self, shares: Floats, effective: float) -> list[str]:
        """When the shares are doubtful."""
        notes, labels = [], self._held_out.labels
        if not self.used:
            notes.append("no name can be used: nothing is known about the shares")
        elif effective < FEW_NAMES:
            notes.append(f"few names: they tell as much as {effective:.0f} of known country")
        if self.unsure.total() > MUCH_UNSURE * self.names:
            share = self.unsure.total() / self.names
            notes.append(f"{share:.0%} of the names are unsure: the shares are of the others alone")
        for country in np.flatnonzero(shares > MUCH).tolist():
            name = self._countries[country]
            if not (labels == country).any():
                notes.append(f"{name}: no held-out rows, so nothing checks it")
                continue
            own = self._held_out.probabilities[labels == country].mean(axis=0)
            if own.argmax() != country or own[country] < 0.5:
                other = int(np.argsort(own)[-1 if own.argmax() != country else -2])
                notes.append(f"{name} is hard to tell from {self._countries[other]}")
        return notes


def estimate_shares(probabilities: Floats, prior: Floats, weights: Floats | None = None) -> Floats:
    """Shares of the countries in a population with another mix than ``prior``.

    Expectation maximisation under label shift (Saerens, Latinne & Decaestecker, Adjusting the
    Outputs of a Classifier to New a Priori Probabilities, 2002).

    Args:
        probabilities: (names, countries) the model's answers.
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


def population_shares(
    probabilities: Floats,
    mean: Floats,
    rows: HeldOut,
    resamples: int = 100,
    seed: int = 1,
) -> Shares:
    """Estimate shares and their intervals.

    The intervals come from a bootstrap of two levels (Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993): held-out rows are resampled within each country, a population with the
    estimated shares is drawn from them, and its shares are estimated; the root mean square of the
    errors counts what the names and what the model leave uncertain. Populations with the shares of
    ``prior``, drawn the same way, say how far an estimate lies from them by chance.

    Args:
        probabilities: (names, countries) the answers to a population or a random sample of it.
        mean: (countries,) mean of the probabilities of the whole population.
        rows: what the bundle keeps of held-out rows.
        resamples: draws of the bootstrap.
        seed: the seed of the draws.
    """
    prior, labels, held_out = rows.prior, rows.labels, rows.probabilities
    random, names = np.random.default_rng(seed), len(probabilities)
    known = np.bincount(labels, minlength=len(prior)) > 0

    def draws(shares: Floats) -> list[Floats]:
        """Weights of the held-out rows in populations with these shares."""
        drawn: list[Floats] = []
        for _ in range(resamples):
            chance = np.zeros(len(labels))
            for country in np.flatnonzero(known):
                own = np.flatnonzero(labels == country)
                counts = random.multinomial(len(own), np.full(len(own), 1 / len(own)))
                chance[own] = shares[country] * counts / len(own)
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
    half = Z * np.sqrt(np.mean(np.square(errors), axis=0))
    half = np.where(known, half, 1.0)  # a country without held-out rows: nothing is known
    method = "em" if shifted else "mean"
    return Shares(shares, np.maximum(shares - half, 0), np.minimum(shares + half, 1), method)
