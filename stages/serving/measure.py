"""What a bundle keeps of held-out rows, measured after training. NumPy and SciPy only."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, logsumexp, softmax

from stages.corpus.dataset import Names
from stages.serving.config import Config
from stages.serving.held_out import LOWEST, Floats, HeldOut, Integers, Letters

TEMPERATURES = (0.05, 20.0)  # lowest and highest
PRIOR_ROWS = 100  # rows of a country that weigh as much as the rows weighted by probability
LEAST_ROWS = 200  # held-out rows of a kind that is measured by itself


def fit_temperature(logits: Floats, labels: Integers) -> float:
    """The temperature T that maximises the likelihood of softmax(logits / T) on held-out names.

    Guo et al., On Calibration of Modern Neural Networks, 2017. It changes no ranking, hence no
    accuracy. The likelihood has one maximum in T.

    Args:
        logits: (names, countries), of names that the model was not trained on.
        labels: (names,) their countries.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-log_probabilities[rows, labels].mean())

    best = minimize_scalar(
        loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(best.x))


def set_thresholds(probabilities: Floats, labels: Integers, level: float) -> Floats:
    """The lowest probability with which each country belongs to a name's prediction set.

    Split conformal prediction with a quantile for each country (Mondrian; Vovk, Gammerman &
    Shafer, Algorithmic Learning in a Random World, 2005). Countries with few rows need help, as
    in Ding et al., Class-Conditional Conformal Prediction with Many Classes (2023): their quantile
    moves towards that of all rows, each weighted by the country's probability, which needs no
    labels and holds as far as the model is calibrated.

    Args:
        probabilities: (rows, countries) the model's answers to held-out rows.
        labels: (rows,) their true countries.
        level: share of a country's rows whose sets are to contain it.

    Returns:
        (countries,) thresholds for `prediction_sets`.
    """
    outside = 1 - level
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


def calibrated(
    config: Config,
    train: Names,
    rows: Names,
    logits: Floats,
    prior: Floats,
    levels: Sequence[float],
) -> Config:
    """The config with temperatures and held-out rows, measured for each kind of name apart.

    Args:
        config: the vocabulary and kinds of names of the model.
        train: the names that the model was trained on.
        rows: the held-out rows.
        logits: (rows, countries) the model's logits of the held-out rows.
        prior: (kinds, countries) shares of the population for which the logits hold.
        levels: of the prediction sets, for each kind of name.
    """
    codes, offsets, labels = map(np.asarray, (rows.codes, rows.offsets, rows.labels))
    kinds = name_kinds(config, rows)
    masks = [kinds == kind for kind in range(len(config.temperatures))]
    # A kind of too few rows is measured by all rows.
    parts = [mask if mask.sum() >= LEAST_ROWS else np.full(len(mask), True) for mask in masks]
    temperatures = [fit_temperature(logits[part], labels[part]) for part in parts]
    probabilities = softmax(logits / np.array(temperatures)[kinds, None], axis=1)
    thresholds = [
        set_thresholds(probabilities[part], labels[part], level)
        for part, level in zip(parts, levels, strict=True)
    ]
    letters = Letters(config.vocabulary)
    for chunk in train.chunks():
        letters.add(chunk.codes)
    held_out = HeldOut(
        prior=prior,
        thresholds=np.stack(thresholds),
        labels=labels,
        kinds=kinds,
        probabilities=probabilities,
        scripts=letters.scripts(codes, offsets),
        measures=np.stack([letters.known(codes, offsets), logsumexp(logits, axis=1)], axis=1),
        ngrams=letters.ngrams,
    )
    return replace(config, temperatures=temperatures, held_out=held_out)


def name_kinds(config: Config, names: Names) -> Integers:
    """(names,) the kind of each name, as of `Config.kinds`."""
    decode = config.vocabulary.decode
    return np.concatenate([config.kinds(decode(c.codes, c.offsets)) for c in names.chunks()])
