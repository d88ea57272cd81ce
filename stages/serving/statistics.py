"""What held-out rows say about a classifier's answers: prediction sets, shares of a population.

Held-out rows are labelled names that the model was not trained on. NumPy and SciPy only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, expit, logit, logsumexp, softmax

from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.serving.held_out import LOWEST, Floats, HeldOut, Integers, Letters, NgramSet

COVERAGE = 0.9  # share of names whose country is in their set: the promise
LEVEL = 0.92  # what the thresholds aim at: quantiles of few rows err
PRIOR_ROWS = 100  # rows of a country that weigh as much as the rows weighted by probability
CHUNK = 2**18  # names at once
STEPS, TOLERANCE = 500, 1e-5  # of expectation maximisation: most steps, and when to stop


def set_thresholds(probabilities: Floats, labels: Integers) -> Floats:
    """The lowest probability with which each country belongs to a name's prediction set.

    Split conformal prediction with a quantile for each country (Mondrian; Vovk, Gammerman &
    Shafer, Algorithmic Learning in a Random World, 2005). Countries with few rows need help, as
    in Ding et al., Class-Conditional Conformal Prediction with Many Classes (2023): their quantile
    moves towards that of all rows, each weighted by the country's probability, which needs no
    labels and holds as far as the model is calibrated.

    Args:
        probabilities: (rows, countries) of held-out rows.
        labels: (rows,) their true countries.

    Returns:
        (countries,) thresholds for `prediction_sets`.
    """
    outside = 1 - LEVEL
    thresholds = np.empty(probabilities.shape[1])
    for country, column in enumerate(np.clip(probabilities.T, LOWEST, 1 - LOWEST)):
        ordered = np.sort(column)
        weights = np.cumsum(ordered) / ordered.sum()
        threshold = logit(ordered[np.searchsorted(weights, outside)])
        own = np.sort(column[labels == country])
        if len(own):
            quantile = logit(own[max(int(outside * (len(own) + 1)) - 1, 0)])
            threshold += (quantile - threshold) * len(own) / (len(own) + PRIOR_ROWS)
        thresholds[country] = expit(threshold)
    return thresholds


def estimate_shares(
    probabilities: Floats, prior: Floats, weights: Floats | None = None
) -> NDArray[np.float64]:
    """Shares of the countries in a population with another mix than ``prior``.

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


def entropy(probabilities: Floats) -> Floats:
    """(rows,) entropy of each row, in nats."""
    return np.asarray(entr(probabilities).sum(axis=1))


@dataclass(frozen=True)
class Shares:
    """Shares of the countries in a population.

    Attributes:
        shares: (countries,)
        lower: (countries,) of 95 % intervals.
        upper: (countries,)
        shifted: whether the shares differ from those under which the probabilities hold; if not,
            ``shares`` is the mean of the probabilities.
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
    errors counts what the names and what the model leave uncertain. Populations with the shares of
    ``prior``, drawn the same way, say how far an estimate lies from them by chance.

    Args:
        probabilities: (names, countries) of a population, or of a random sample of it.
        mean: (countries,) mean of the probabilities of the whole population.
        prior: (countries,) shares under which the probabilities hold.
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


def measure(
    vocabulary: Vocabulary,
    train: Names,
    rows: Names,
    logits: Floats,
    temperature: float,
    logit_adjustment: float,
) -> HeldOut:
    """Measure a trained model.

    Args:
        vocabulary: of both.
        train: what the model was trained on.
        rows: the held-out rows.
        logits: (rows, countries) of the held-out rows.
        temperature: that divides them.
        logit_adjustment: with which the model was trained.
    """
    letters = Letters(vocabulary)
    ngrams = NgramSet(letters)
    for start in range(0, len(train), CHUNK):
        offsets = np.asarray(train.offsets[start : start + CHUNK + 1])
        ngrams.add(train.codes[offsets[0] : offsets[-1]])
    codes, offsets, labels = map(np.asarray, (rows.codes, rows.offsets, rows.labels))
    countries = logits.shape[1]
    probabilities = softmax(logits / temperature, axis=1)
    prior = np.bincount(train.labels, minlength=countries) ** (1.0 - logit_adjustment)
    return HeldOut(
        prior=prior / prior.sum(),
        thresholds=set_thresholds(probabilities, labels),
        labels=labels,
        probabilities=probabilities,
        scripts=letters.scripts(codes, offsets),
        measures=np.stack([ngrams.known(codes, offsets), logsumexp(logits, axis=1)], axis=1),
        ngrams=ngrams.bits,
    )
