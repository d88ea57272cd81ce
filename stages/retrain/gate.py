"""Whether a newly trained model, the challenger, may replace the one in use, the champion.

Both answer the same test names. Accuracy and macro-F1 are compared by a paired bootstrap (Efron &
Tibshirani, An Introduction to the Bootstrap, 1993): test rows are resampled with both answers, and
the distribution of the differences gives their confidence intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stages.core.params import GateParams

Places = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

CELLS = 2**22  # counts in memory at once


@dataclass(frozen=True)
class Answers:
    """What one model says to the test names.

    Attributes:
        countries: those it knows.
        probabilities: (rows, countries); a row of NaN is an unusable name.
    """

    countries: Sequence[str]
    probabilities: NDArray[np.floating[Any]]

    def predictions(self, among: Sequence[str]) -> Places:
        """(rows,) index of the most probable country of ``among``; -1 for unusable names.

        The model must know every country of ``among``.
        """
        table = self.probabilities[:, [list(self.countries).index(name) for name in among]]
        unusable = np.isnan(table).any(axis=1)
        return np.where(unusable, -1, np.nan_to_num(table).argmax(axis=1))


def judge(
    labels: Sequence[str],
    challenger: Answers,
    champion: Answers | None,
    baseline: Mapping[str, float],
    params: GateParams,
    coverage: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The verdict, as it is written to metrics/gate.json.

    Args:
        labels: (rows,) true country of each test name; the challenger knows each.
        challenger: its answers, in the order of ``labels``.
        champion: its answers to the same names; None if there is none yet, and then only the
            floors and the baseline count.
        baseline: ``accuracy`` and ``macro_f1`` of the linear baseline on the same rows.
        params: the thresholds.
        coverage: country -> share of its test names whose prediction set contains it.

    Returns:
        ``verdict`` ("promote" or "reject"), ``reason`` in words, and every number behind it:
        scalars in nested mappings, as DVC's metrics need.
    """
    countries = list(challenger.countries)
    place = {country: n for n, country in enumerate(countries)}
    truth = np.array([place[country] for country in labels], dtype=np.int64)
    scores, f1 = _scores(truth, challenger.predictions(countries), len(countries))
    own = dict(zip(("accuracy", "macro_f1"), scores[0].tolist(), strict=True))

    faults: list[str] = []
    notes: list[str] = []
    found: dict[str, Any] = {"rows": len(truth), "challenger": own, "baseline": {}}
    for metric, value in own.items():
        bar = float(baseline[metric]) + params.baseline_margin
        found["baseline"][metric] = {"value": float(baseline[metric]), "bar": bar}
        if value < bar:
            faults.append(f"{metric} {value:.4f} is below the baseline's bar of {bar:.4f}")

    old_f1: dict[str, float] = {}
    if champion is None:
        notes.append("there is no champion yet, so only the floors and the baseline count")
    else:
        shared = [country for country in countries if country in set(champion.countries)]
        found["champion"], lost, old_f1 = _compare(truth, challenger, champion, shared, params)
        faults += lost
        if list(champion.countries) == countries:
            apart = np.abs(champion.probabilities - challenger.probabilities)
            found["champion"]["probability_difference"] = float(np.nan_to_num(apart).max())
        if set(champion.countries) != set(countries):
            rows = found["champion"]["rows"]
            notes.append(
                f"the countries changed: compared on the {len(shared)} shared ones, {rows} rows"
            )

    found["per_country"] = {}
    for n, rows in enumerate(np.bincount(truth, minlength=len(countries)).tolist()):
        if rows < params.floor_support:
            continue
        country, value = countries[n], float(np.nan_to_num(f1[0, n]))
        floor = max(params.floor_f1, old_f1.get(country, 0.0) - params.floor_drop)
        found["per_country"][country] = {"support": rows, "f1": value, "floor": floor}
        if value < floor:
            faults.append(f"F1 of {country} {value:.4f} is below its floor of {floor:.4f}")
        covered = (coverage or {}).get(country, 1.0)
        if covered < params.floor_coverage:
            faults.append(
                f"coverage of {country} {covered:.4f} is below {params.floor_coverage:.4f}"
            )

    bars = "above the baseline and the floors"
    good = f"better than the champion, {bars}" if champion else bars
    reason = "; ".join([*(faults or [good]), *notes])
    return {"verdict": "reject" if faults else "promote", "reason": reason, **found}


def _compare(
    truth: Places,
    challenger: Answers,
    champion: Answers,
    shared: list[str],
    params: GateParams,
) -> tuple[dict[str, Any], list[str], dict[str, float]]:
    """Numbers of the comparison, the reasons to reject the challenger, the champion's F1."""
    places = [shared.index(name) if name in shared else -1 for name in challenger.countries]
    rows = np.flatnonzero(np.array(places)[truth] >= 0)
    if not len(rows):
        return {"rows": 0}, ["no test row is of a country that the champion knows"], {}
    labels = np.array(places)[truth[rows]]
    old, new = (model.predictions(shared)[rows] for model in (champion, challenger))
    before, f1 = _scores(labels, old, len(shared))
    after, _ = _scores(labels, new, len(shared))
    draws = paired_bootstrap(labels, old, new, len(shared), params.resamples, params.seed)
    lower, upper = np.quantile(draws, [1 - params.confidence, params.confidence], axis=0)
    found: dict[str, Any] = {"rows": len(rows)}
    faults = []
    margins = {"accuracy": params.accuracy_margin, "macro_f1": params.macro_f1_margin}
    for n, (metric, margin) in enumerate(margins.items()):
        found[metric] = {
            "champion": float(before[0, n]),
            "challenger": float(after[0, n]),
            "difference": float(after[0, n] - before[0, n]),
            "lower": float(lower[n]),
            "upper": float(upper[n]),
            "margin": margin,
        }
        if not lower[n] > margin:
            faults.append(
                f"{metric} {after[0, n]:.4f} against the champion's {before[0, n]:.4f}: "
                f"the difference may be as low as {lower[n]:+.4f} "
                f"(confidence {params.confidence:g}), not above the margin of {margin:+.4f}"
            )
    occurring = np.unique(labels)
    return found, faults, {shared[n]: float(f1[0, n]) for n in occurring}


def paired_bootstrap(
    labels: Places, old: Places, new: Places, countries: int, resamples: int, seed: int
) -> Floats:
    """Differences (new minus old) of accuracy and macro-F1 over resampled rows.

    Rows with the same label and predictions are interchangeable, so a draw of rows is a
    multinomial draw of the count of each kind of row: the cost grows with the kinds, not the rows.

    Args:
        labels: (rows,) true countries.
        old: (rows,) one model's predictions; -1 for none.
        new: (rows,) the other's.
        countries: number of countries.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        (resamples, 2): accuracy, macro-F1.
    """
    kinds, counts = np.unique(np.stack([labels, old, new], axis=1), axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    size = max(1, CELLS // max(len(kinds), countries))
    differences = []
    for start in range(0, resamples, size):
        shape = min(size, resamples - start)
        drawn = random.multinomial(len(labels), counts / len(labels), size=shape)
        before, after = (_scores(kinds[:, 0], kinds[:, n], countries, drawn)[0] for n in (1, 2))
        differences.append(after - before)
    return np.concatenate(differences)


def _scores(
    labels: Places, predictions: Places, countries: int, weights: Places | None = None
) -> tuple[Floats, Floats]:
    """Accuracy and macro-F1, (draws, 2), and F1, (draws, countries), of weighted rows.

    F1 is 2 hits / (rows of the country + predictions of it), NaN for a country that does not
    occur; macro-F1 is the mean over those that occur.

    Args:
        labels: (rows,) true countries.
        predictions: (rows,) -1 for none.
        countries: number of countries.
        weights: (draws, rows) how often each row counts; once, in one draw, by default.
    """
    weights = np.ones((1, len(labels)), dtype=np.int64) if weights is None else weights

    def count(places: Places, rows: NDArray[np.bool_]) -> Floats:
        """(draws, countries) weights of ``rows`` by their place."""
        ones = np.ones(rows.sum(), dtype=np.int64)
        shape = (len(labels), countries)
        return np.asarray(weights @ csr_array((ones, (np.flatnonzero(rows), places[rows])), shape))

    hits = count(labels, labels == predictions)
    total = count(labels, labels >= 0) + count(predictions, predictions >= 0)
    f1: Floats = np.full(hits.shape, np.nan)
    np.divide(2 * hits, total, out=f1, where=total > 0)
    accuracy = hits.sum(axis=1) / weights.sum(axis=1)
    return np.stack([accuracy, np.nanmean(f1, axis=1)], axis=1), f1
