"""What a bundle says about each of its countries."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.serving.held_out import prediction_sets
from stages.serving.predictor import Predictor


class CountryFacts(NamedTuple):
    """How many training names a country has, and how well its held-out names are answered.

    Attributes:
        country: the country.
        group: the group of neighbouring countries that it is in, if it is in one.
        names: the number of training names; None if the bundle does not say.
        held_out: the number of held-out names that the bundle keeps.
        f1: the F1 score on these; None if there are none.
        coverage: the share of these whose set has the country.
    """

    country: str
    group: str | None
    names: int | None
    held_out: int
    f1: float | None
    coverage: float | None


def about_countries(model: Predictor) -> list[CountryFacts]:
    """The facts of each country, in the model's order."""
    group_of = {label: group for group, labels in model.groups.items() for label in labels}
    counts: Sequence[int | None] = model.config.training_names or [None] * len(model.countries)
    rows, facts = model.held_out, []
    if rows:
        answers = rows.probabilities.argmax(axis=1)
        sets = prediction_sets(rows.probabilities, rows.thresholds[rows.kinds])
    for number, (country, names) in enumerate(zip(model.countries, counts, strict=True)):
        own = rows.labels == number if rows else np.zeros(0, dtype=bool)
        f1 = coverage = None
        if rows and own.any():
            answered = answers == number
            f1 = round(float(2 * (own & answered).sum() / (own.sum() + answered.sum())), 4)
            coverage = round(float(sets[own, number].mean()), 4)
        group = group_of.get(country)
        facts.append(CountryFacts(country, group, names, int(own.sum()), f1, coverage))
    return facts
