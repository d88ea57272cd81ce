"""Whether a newly trained model, the challenger, may replace the one in use, the champion.

Both answer the same test names. Accuracy and macro-F1 are compared by a paired bootstrap (Efron &
Tibshirani, An Introduction to the Bootstrap, 1993): test rows are resampled with both answers, and
the distribution of the differences gives their confidence intervals.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.core.params import GateParams

METRICS = ("accuracy", "macro_f1")
Codes = NDArray[np.int64]
"""(rows,) indices of countries; -1: none of them."""


def judge(
    labels: Sequence[str],
    challenger: pd.DataFrame,
    champion: pd.DataFrame | None,
    baseline: Mapping[str, float],
    coverage: Mapping[str, float],
    params: GateParams,
) -> dict[str, Any]:
    """``verdict`` ("promote" or "reject"), ``reason`` in words, and the numbers behind it.

    Args:
        labels: true country of each test name; the challenger has them all.
        challenger: probabilities of its countries (columns) for the names; NaN: an unusable name.
        champion: probabilities of the champion; None: only the floors and the baseline count.
        baseline: ``accuracy`` and ``macro_f1`` of the linear baseline on the same rows.
        coverage: country -> share of its test names whose prediction set contains it.
        params: the thresholds.
    """
    countries = [str(country) for country in challenger]
    truth = pd.Index(countries).get_indexer(pd.Index(labels))
    scores, f1 = _scores(truth, _predictions(challenger), len(countries))
    numbers = dict(zip(METRICS, scores.tolist(), strict=True))
    verdict: dict[str, Any] = {"rows": len(truth), "challenger": numbers, "baseline": {}}
    faults: list[str] = []
    for metric, value in numbers.items():
        bar = baseline[metric] + params.baseline_margin
        verdict["baseline"][metric] = {"value": baseline[metric], "bar": bar}
        if value < bar:
            faults.append(f"{metric} {value:.4f} is below the baseline's bar of {bar:.4f}")

    champion_f1: dict[str, float] = {}
    praise = "above the baseline and the floors"
    note = "; there is no champion yet, so only the floors and the baseline count"
    if champion is not None:
        compared, losses, champion_f1 = _compare(labels, challenger, champion, params)
        verdict["champion"] = compared
        faults += losses
        praise, note = f"better than the champion, {praise}", ""
        if set(champion) != set(countries):
            shared = f"{len(set(champion) & set(countries))} shared ones, {compared['rows']} rows"
            note = f"; the countries changed: compared on the {shared}"

    verdict["per_country"] = {}
    support = np.bincount(truth, minlength=len(countries)).tolist()
    for country, rows, value in zip(countries, support, f1.tolist(), strict=True):
        if rows < params.floor_support:
            continue
        floor = max(params.floor_f1, champion_f1.get(country, 0.0) - params.floor_drop)
        verdict["per_country"][country] = {"support": rows, "f1": value, "floor": floor}
        if value < floor:
            faults.append(f"F1 of {country} {value:.4f} is below its floor of {floor:.4f}")
        covered, floor = coverage.get(country, 1.0), params.floor_coverage
        if covered < floor:
            faults.append(f"coverage of {country} {covered:.4f} is below {floor:.4f}")
    reason = "; ".join(faults or [praise]) + note
    return {"verdict": "reject" if faults else "promote", "reason": reason, **verdict}


def _compare(
    labels: Sequence[str], challenger: pd.DataFrame, champion: pd.DataFrame, params: GateParams
) -> tuple[dict[str, Any], list[str], dict[str, float]]:
    """Numbers of the comparison, the reasons to reject the challenger, the champion's F1."""
    shared = [str(country) for country in challenger if country in champion]
    truth = pd.Index(shared).get_indexer(pd.Index(labels))
    rows = truth >= 0
    if not rows.any():
        return {"rows": 0}, ["no test row is of a country that the champion knows"], {}
    truth = truth[rows]
    old, new = (_predictions(model[shared])[rows] for model in (champion, challenger))
    (before, f1), (after, _) = (_scores(truth, codes, len(shared)) for codes in (old, new))
    draws = paired_bootstrap(truth, old, new, len(shared), params.resamples, params.seed)
    lower, upper = np.quantile(draws, [1 - params.confidence, params.confidence], axis=0)
    numbers = {"champion": before, "challenger": after, "difference": after - before}
    numbers |= {"lower": lower, "upper": upper}
    compared: dict[str, Any] = {"rows": len(truth)}
    if list(champion) == list(challenger):
        changes = np.abs((champion - challenger).fillna(0).to_numpy())
        compared["probability_difference"] = float(changes.max())
    faults = []
    for n, metric in enumerate(METRICS):
        margin: float = getattr(params, f"{metric}_margin")
        compared[metric] = {key: float(pair[n]) for key, pair in numbers.items()}
        compared[metric]["margin"] = margin
        if not lower[n] > margin:
            faults.append(
                f"{metric} {after[n]:.4f} against the champion's {before[n]:.4f}: "
                f"the difference may be as low as {lower[n]:+.4f} "
                f"(confidence {params.confidence:g}), not above the margin of {margin:+.4f}"
            )
    return compared, faults, {shared[n]: float(f1[n]) for n in np.unique(truth)}


def _predictions(probabilities: pd.DataFrame) -> Codes:
    table = probabilities.to_numpy()
    return np.where(np.isnan(table).any(axis=1), -1, table.argmax(axis=1))


def paired_bootstrap(
    labels: Codes, old: Codes, new: Codes, countries: int, resamples: int, seed: int
) -> NDArray[np.float64]:
    """(resamples, 2): differences (new minus old) of accuracy and macro-F1 over resampled rows.

    Rows with the same label and predictions are interchangeable, so a draw of rows is a
    multinomial draw of the count of each kind of row: the cost grows with the kinds, not the rows.
    """
    kinds, counts = np.unique(np.stack([labels, old, new]), axis=1, return_counts=True)
    random = np.random.default_rng(seed)
    differences = np.empty((resamples, 2))
    for n in range(resamples):
        drawn = random.multinomial(len(labels), counts / len(labels))
        before, after = (_scores(kinds[0], kinds[row], countries, drawn)[0] for row in (1, 2))
        differences[n] = after - before
    return differences


def _scores(
    labels: Codes, predictions: Codes, countries: int, weights: Codes | int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(accuracy, macro-F1), and the F1 of each country; ``weights``: how often each row counts.

    F1 is 2 hits / (rows of the country + predictions of it), 0 for a country that does not occur;
    macro-F1 is the mean over those that occur.
    """
    weights = np.broadcast_to(weights, labels.shape)
    hits = np.bincount(labels, weights * (labels == predictions), countries)
    # The first bin takes the rows without a prediction.
    predicted = np.bincount(predictions + 1, weights, countries + 1)[1:]
    total = np.bincount(labels, weights, countries) + predicted
    f1 = 2 * hits / np.maximum(total, 1)
    return np.array([hits.sum() / weights.sum(), f1[total > 0].mean()]), f1
