"""What a bundle says about each of its countries."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.serving.held_out import prediction_sets
from stages.serving.predictor import Predictor


def about_countries(model: Predictor) -> list[dict[str, Any]]:
    """How many training names a country has, and how well its held-out names are answered.

    Returns:
        For each country: ``country``; its ``group`` or None; ``names``, the number of training
        names, or None if the bundle does not say; ``held_out``, the number of held-out names that
        the bundle keeps; of these, ``f1`` and ``coverage``, the share whose set has the country,
        None if there are none.
    """
    group_of = {label: group for group, labels in model.groups.items() for label in labels}
    counts: Sequence[int | None] = model.config.training_names or [None] * len(model.countries)
    rows = []
    for number, (country, names) in enumerate(zip(model.countries, counts, strict=True)):
        about = {"country": country, "group": group_of.get(country), "names": names}
        rows.append({**about, **_on_held_out_names(model, number)})
    return rows


def _on_held_out_names(model: Predictor, country: int) -> dict[str, Any]:
    rows = model.held_out
    own = np.zeros(0, dtype=bool) if rows is None else rows.labels == country
    if rows is None or not own.any():
        return {"held_out": 0, "f1": None, "coverage": None}
    answered = rows.probabilities.argmax(axis=1) == country
    sets = prediction_sets(rows.probabilities, rows.thresholds[rows.kinds])
    f1 = 2 * (own & answered).sum() / (own.sum() + answered.sum())
    return {
        "held_out": int(own.sum()),
        "f1": round(float(f1), 4),
        "coverage": round(float(sets[own, country].mean()), 4),
    }
