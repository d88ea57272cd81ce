"""Shares of the countries in a population, from the answers to its names. NumPy and SciPy only."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr

from stages.core.errors import UserError
from stages.serving.held_out import LOWEST, Floats, HeldOut, Integers, reweight
from stages.serving.prediction import REASONS

STEPS, TOLERANCE = 500, 1e-5  # of expectation maximisation: most steps, and when to stop
RESAMPLES = 100  # populations that are drawn for an interval
SAMPLE_CELLS = 2**19  # probabilities kept of a population at most: names x countries
Z = 1.96  # standard errors of a 95 % interval
FEW_NAMES, MUCH_UNSURE, MUCH = 100, 0.2, 0.05  # when a note says that an estimate is doubtful
STRAY = 6  # names of a population differ from held-out rows as if these were a sixth as many


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
        self.names = self.used = 0  # all, and those with an answer
        self.unsure: Counter[str] = Counter()
        self.total = np.zeros(len(countries))
        self.sample = np.empty((0, len(countries)), dtype=np.float32)
        self._kinds = np.empty(0, dtype=np.uint8)  # of the names in the sample
        self._keys = np.empty(0)  # of these, too: random numbers below the rate
        self._rate = 1.0
        self._random = np.random.default_rng(seed)
        self._most = max(SAMPLE_CELLS // len(countries), 100)

    def add(self, probabilities: Floats, reasons: Integers, kinds: Integers) -> None:
        """Count names, as `Predictor.ask` answers them; unusable ones have probabilities of NaN."""
        unusable = np.isnan(probabilities[:, 0])
        self.names += len(reasons)
        self.unsure["unusable"] += int(unusable.sum())
        self.unsure.update(str(REASONS[n]) for n in sorted(reasons[reasons > 0].tolist()))
        sure = ~unusable & (reasons == 0)
        used = int(sure.sum())
        self.used += used
        self.total += probabilities[sure].sum(axis=0, dtype=np.float64)
        # Each name has a random number; those below a rate, which falls, are the sample.
        keys = np.append(self._keys, self._random.random(used))
        while (keys < self._rate).sum() > self._most:
            self._rate /= 2
        chosen = keys < self._rate
        self._keys, self._kinds = keys[chosen], np.append(self._kinds, kinds[sure])[chosen]
        self.sample = np.concatenate([self.sample, probabilities[sure]])[chosen]

    def estimate(self, prior: Floats | None = None) -> Shares:
        """The shares; of a population without usable names, nothing is known.

        Args:
            prior: (countries,) shares that are known, instead of an estimate.
        """
        if not self.used:
            nothing = np.zeros(len(self.total))
            return Shares(nothing, nothing, nothing + 1)
        if prior is None:
            estimate = self._bootstrap()
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

    def _bootstrap(self) -> Shares:
        """Estimate shares and their intervals.

        The intervals come from a bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap,
        1993): populations with the estimated shares are drawn from held-out rows, and their shares
        are estimated; the root mean square of the errors counts what the names and what the model
        leave uncertain. Populations with the shares of the model, drawn the same way, say how far
        an estimate lies from them by chance. Rows of the sample's most frequent kind are drawn if
        they have all countries.
        """
        rows, random = self._held_out, np.random.default_rng(1)
        kind = np.bincount(self._kinds).argmax()
        prior, priors = rows.prior[kind], rows.prior[self._kinds]
        own = rows.kinds == kind
        own |= len(np.unique(rows.labels[own])) < len(np.unique(rows.labels))
        labels, held_out = rows.labels[own], rows.probabilities[own]
        em = partial(estimate_shares, held_out, rows.prior[rows.kinds[own]])
        known, numbers = np.unique(labels, return_counts=True)

        def draw(shares: Floats) -> Floats:
            """(`RESAMPLES`, rows) weights of the rows in populations drawn from them.

            Of each country so few rows are drawn that they vary as much as the held-out rows,
            `STRAY` fold, and the names of the population together: one that many people have is one
            draw. By `STRAY`, intervals also hold for held-out surnames that no training name has,
            which are harder.
            """
            different = effective_names(reweight(self.sample, priors, shares))
            chance = np.zeros(len(shares))
            chance[known] = np.maximum(shares[known], LOWEST)
            sizes = random.multinomial(len(self.sample), chance / chance.sum(), size=RESAMPLES)
            weights = np.zeros((RESAMPLES, len(labels)))
            for country, number in zip(known, numbers, strict=True):
                drawn = max(round(1 / (STRAY / number + 1 / different[country])), 1)
                counts = random.multinomial(drawn, np.full(number, 1 / number), size=RESAMPLES)
                weights[:, labels == country] = sizes[:, [country]] * counts / drawn
            return weights

        shares = estimate_shares(self.sample, priors)
        chances = [np.abs(em(weights) - prior).sum() for weights in draw(prior)]
        is_shifted = bool(np.abs(shares - prior).sum() > np.quantile(chances, 0.95))
        shares = shares if is_shifted else self.total / self.used
        weights = draw(shares)
        resampled = [*map(em, weights)] if is_shifted else weights @ held_out / len(self.sample)
        half = Z * np.sqrt(np.mean(np.square(resampled - shares), axis=0))
        half[np.setdiff1d(np.arange(len(prior)), known)] = 1  # nothing is known of these
        return Shares(shares, shares - half, shares + half, "em" if is_shifted else "mean")

    def summary(self, prior: Floats | None = None) -> dict[str, Any]:
        """The result as JSON values: the largest share first; see `estimate` for ``prior``."""
        estimate = self.estimate(prior)
        effective = 0.0
        if self.used:
            # Names of known country that would tell as much: the share of entropy that is removed.
            before = entr(estimate.shares).sum()
            answers = reweight(self.sample, self._held_out.prior[self._kinds], estimate.shares)
            after = entr(answers).sum(axis=1).mean()
            effective = self.used * float(1 - after / before) if before > 0 else 0.0
        keys = ("country", "share", "lower", "upper", "plain")
        numbers = np.round([*estimate[:3], self.total / max(self.used, 1)], 6).tolist()
        rows = zip(self._countries, *numbers, strict=True)
        table = [dict(zip(keys, row, strict=True)) for row in rows]
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
        notes, rows = list[str](), self._held_out
        if not self.used:
            notes.append("no name can be used: nothing is known about the shares")
        elif effective < FEW_NAMES:
            notes.append(f"few names: they tell as much as {effective:.0f} of known country")
        if self.unsure.total() > MUCH_UNSURE * self.names:
            share = self.unsure.total() / self.names
            notes.append(f"{share:.0%} of the names are unsure: the shares are of the others alone")
        for country in np.flatnonzero(shares > MUCH).tolist():
            name, own = self._countries[country], rows.probabilities[rows.labels == country]
            if not len(own):
                notes.append(f"{name}: no held-out rows, so nothing checks it")
            elif (mean := own.mean(axis=0))[country] < 0.5:
                mean[country] = 0
                notes.append(f"{name} is hard to tell from {self._countries[mean.argmax()]}")
        return notes


def estimate_shares(probabilities: Floats, prior: Floats, weights: Floats | float = 1) -> Floats:
    """Shares of the countries in a population with another mix than ``prior``.

    Expectation maximisation under label shift (Saerens, Latinne & Decaestecker, Adjusting the
    Outputs of a Classifier to New a Priori Probabilities, 2002).

    Args:
        probabilities: (names, countries) the model's answers.
        prior: (names, countries) shares under which the probabilities hold.
        weights: (names,) how often each name occurs.
    """
    weights = np.broadcast_to(weights, len(probabilities)).astype(np.float64)
    drawn = weights > 0
    weights = weights[drawn] / weights[drawn].sum()
    ratios = probabilities[drawn] / np.maximum(prior[drawn], LOWEST)
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
    rows = np.ascontiguousarray(probabilities).view(f"V{probabilities[0].nbytes}")
    _, first, times = np.unique(rows, return_index=True, return_counts=True)
    weights = probabilities[first] * times[:, None]
    tiny = np.finfo(np.float64).tiny  # a country that no name can be from
    return np.asarray((weights.sum(axis=0) ** 2 + tiny) / ((weights**2).sum(axis=0) + tiny))
