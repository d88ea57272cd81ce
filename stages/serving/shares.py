"""Shares of the countries in a population, from the answers to its names. NumPy and SciPy only."""

from collections import Counter
from collections.abc import Sequence
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
# Names of a population differ from held-out rows as if these were a sixth as many. With this,
# intervals also hold for held-out surnames that no training name has, which are harder.
STRAY = 6


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
        self.total = np.zeros(len(countries))
        self.sample = np.empty((0, len(countries)), dtype=np.float32)
        self._kinds = np.empty(0, dtype=np.uint8)  # of the names in the sample
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
        sure = ~unusable & (reasons == 0)
        usable = probabilities[sure]
        self.total += usable.sum(axis=0, dtype=np.float64)
        # Each name has a random number; those below a rate, which falls, are the sample.
        keys = self._random.random(len(usable))
        chosen = keys < self._rate
        self._keys = np.concatenate([self._keys, keys[chosen]])
        self._kinds = np.concatenate([self._kinds, kinds[sure][chosen]])
        self.sample = np.concatenate([self.sample, usable[chosen]])
        while len(self.sample) > self._most:
            self._rate /= 2
            kept = self._keys < self._rate
            self._keys, self._kinds = self._keys[kept], self._kinds[kept]
            self.sample = self.sample[kept]

    def estimate(self, prior: Floats | None = None) -> Shares:
        """The shares; of a population without usable names, nothing is known.

        Args:
            prior: (countries,) shares that are known, instead of an estimate.
        """
        nothing = np.zeros(len(self.total))
        if not self.used:
            return Shares(nothing, nothing, nothing + 1)
        if prior is None:
            mean = self.total / self.used
            estimate = population_shares(self.sample, self._kinds, mean, self._held_out)
        else:
            table = reweight(self.sample, self._held_out.prior[self._kinds], prior)
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

    def summary(self, prior: Floats | None = None) -> dict[str, Any]:
        """The result as JSON values: the largest share first; see `estimate` for ``prior``."""
        estimate = self.estimate(prior)
        effective = 0.0
        if self.used:
            # Names of known country that would tell as much: the share of entropy that is removed.
            before = entr(estimate.shares).sum()
            model_shares = self._held_out.prior[self._kinds]
            answers = reweight(self.sample, model_shares, estimate.shares)
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
        prior: (names, countries) or (countries,) shares under which the probabilities hold.
        weights: (names,) how often each name occurs; once by default.
    """
    weights = np.ones(len(probabilities)) if weights is None else weights
    weights = weights / weights.sum()
    ratios = probabilities / np.maximum(prior, LOWEST)
    shares = np.full(ratios.shape[1], 1 / ratios.shape[1])
    for _ in range(STEPS):
        before, shares = shares, shares * ((weights / (ratios @ shares)) @ ratios)
        if np.abs(shares - before).sum() < TOLERANCE:
            break
    return np.asarray(shares)


def effective_names(probabilities: Floats) -> Floats:
    """(countries,) how many different names, equally frequent, tell as much about each country.

    Kish, Survey Sampling, 1965: the square of the sum of the weights by the sum of their squares.
    Names with the same answer count as one name, which is drawn as a cluster.

    Args:
        probabilities: (names, countries) of the countries in the population.
    """
    _, first, times = np.unique(
        np.ascontiguousarray(probabilities).view(f"V{probabilities[0].nbytes}"),
        return_index=True,
        return_counts=True,
    )
    weights = probabilities[first] * times[:, None]
    tiny = np.finfo(np.float64).tiny  # a country that no name can be from
    return np.asarray((weights.sum(axis=0) ** 2 + tiny) / ((weights**2).sum(axis=0) + tiny))


def population_shares(
    probabilities: Floats,
    kinds: Integers,
    mean: Floats,
    rows: HeldOut,
    resamples: int = 100,
    seed: int = 1,
) -> Shares:
    """Estimate shares and their intervals.

    The intervals come from a bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap,
    1993): populations with the estimated shares are drawn from held-out rows, and their shares are
    estimated; the root mean square of the errors counts what the names and what the model leave
    uncertain. Of each country so few rows are drawn that they vary as much as the held-out rows,
    `STRAY` fold, and the names of the population together: one that many people have is one draw.
    Populations with the shares of the model, drawn the same way, say how far an estimate lies from
    them by chance.

    Args:
        probabilities: (names, countries) the answers to a population or a random sample of it.
        kinds: (names,) the kind of each name; rows of the most frequent one are drawn if they have
            all countries.
        mean: (countries,) mean of the probabilities of the whole population.
        rows: what the bundle keeps of held-out rows.
        resamples: draws of the bootstrap.
        seed: the seed of the draws.
    """
    random, names = np.random.default_rng(seed), len(probabilities)
    kind = np.bincount(kinds).argmax()
    own = rows.kinds == kind
    if len(np.unique(rows.labels[own])) < len(np.unique(rows.labels)):
        own[:] = True
    labels, held_out, priors = (
        rows.labels[own],
        rows.probabilities[own],
        rows.prior[rows.kinds[own]],
    )
    prior = rows.prior[kind]
    known = np.bincount(labels, minlength=len(prior)) > 0

    def draws(shares: Floats) -> Floats:
        """(resamples, rows) weights of the held-out rows in populations with these shares."""
        clusters = effective_names(reweight(probabilities, rows.prior[kinds], shares))
        chance = np.where(known, np.maximum(shares, LOWEST), 0)
        sizes = random.multinomial(names, chance / chance.sum(), size=resamples)
        weights = np.zeros((resamples, len(labels)))
        for country in np.flatnonzero(known):
            same = labels == country
            number = same.sum()
            drawn = max(round(1 / (STRAY / number + 1 / clusters[country])), 1)
            counts = random.multinomial(drawn, np.full(number, 1 / number), size=resamples)
            weights[:, same] = sizes[:, [country]] * counts / drawn
        return weights

    def estimate(weights: Floats) -> Floats:
        drawn = weights > 0
        return estimate_shares(held_out[drawn], priors[drawn], weights[drawn])

    shares = estimate_shares(probabilities, rows.prior[kinds])
    chances = [np.abs(estimate(weights) - prior).sum() for weights in draws(prior)]
    shifted = bool(np.abs(shares - prior).sum() > np.quantile(chances, 0.95))
    if not shifted:
        shares = np.asarray(mean, dtype=np.float64)
    weights = draws(shares)
    found = [*map(estimate, weights)] if shifted else weights @ held_out / names
    half = Z * np.sqrt(np.mean(np.square(found - shares), axis=0))
    half = np.where(known, half, 1.0)  # a country without held-out rows: nothing is known
    method = "em" if shifted else "mean"
    return Shares(shares, np.maximum(shares - half, 0), np.minimum(shares + half, 1), method)
