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

from stages.core.params import GateParams

METRICS = ("accuracy", "macro_f1")
Codes = NDArray[np.int64]
"""(rows,) indices of countries; -1: no prediction."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """One model's ``countries`` and (names, countries) probabilities; NaN: an unusable name."""

    countries: Sequence[str]
    probabilities: NDArray[np.floating[Any]]

    def predictions(self, among: Sequence[str]) -> Codes:
        """The most probable country of ``among`` for each name; the model has them all."""
        table = self.probabilities[:, [list(self.countries).index(name) for name in among]]
        unusable = np.isnan(table).any(axis=1)
        return np.where(unusable, -1, np.nan_to_num(table).argmax(axis=1))


def judge(
    labels: Sequence[str],
    challenger: Answers,
    champion: Answers | None,
    baseline: Mapping[str, float],
    coverage: Mapping[str, float],
    params: GateParams,
) -> dict[str, Any]:
    """The verdict, as it is written to metrics/gate.json.

    Args:
        labels: true country of each test name; the challenger has them all.
        challenger: its answers, in the order of ``labels``.
        champion: its answers to the same names; None: only the floors and the baseline count.
        baseline: ``accuracy`` and ``macro_f1`` of the linear baseline on the same rows.
        coverage: country -> share of its test names whose prediction set contains it.
        params: the thresholds.

    Returns:
        ``verdict`` ("promote" or "reject"), ``reason`` in words, and every number behind it:
        scalars in nested mappings, as DVC's metrics need.
    """
    countries = list(challenger.countries)
    truth = np.array([countries.index(country) for country in labels], dtype=np.int64)
    scores, f1 = _scores(truth, challenger.predictions(countries), len(countries))
    own = dict(zip(METRICS, scores.tolist(), strict=True))
    verdict: dict[str, Any] = {"rows": len(truth), "challenger": own, "baseline": {}}
    faults: list[str] = []
    for metric, value in own.items():
        bar = baseline[metric] + params.baseline_margin
        verdict["baseline"][metric] = {"value": baseline[metric], "bar": bar}
        if value < bar:
            faults.append(f"{metric} {value:.4f} is below the baseline's bar of {bar:.4f}")

    champion_f1: dict[str, float] = {}
    note = "there is no champion yet, so only the floors and the baseline count"
    if champion:
        compared, lost, champion_f1 = _compare(truth, challenger, champion, params)
        verdict["champion"] = compared
        faults += lost
        shared = len(set(champion.countries) & set(countries))
        note = f"the countries changed: compared on the {shared} shared ones"
        note += f", {compared['rows']} rows"

    verdict["per_country"] = {}
    for country, rows, value in zip(
        countries, np.bincount(truth, minlength=len(f1)), f1, strict=True
    ):
        if rows < params.floor_support:
            continue
        floor = max(params.floor_f1, champion_f1.get(country, 0.0) - params.floor_drop)
        verdict["per_country"][country] = {"support": int(rows), "f1": value, "floor": floor}
        if value < floor:
            faults.append(f"F1 of {country} {value:.4f} is below its floor of {floor:.4f}")
        if (covered := coverage.get(country, 1.0)) < params.floor_coverage:
            floor = params.floor_coverage
            faults.append(f"coverage of {country} {covered:.4f} is below {floor:.4f}")

    praise = "better than the champion, " if champion else ""
    reasons = faults or [f"{praise}above the baseline and the floors"]
    if not champion or set(champion.countries) != set(countries):
        reasons.append(note)
    outcome = "reject" if faults else "promote"
    return {"verdict": outcome, "reason": "; ".join(reasons), **verdict}


def _compare(
    truth: Codes, challenger: Answers, champion: Answers, params: GateParams
) -> tuple[dict[str, Any], list[str], dict[str, float]]:
    """Numbers of the comparison, the reasons to reject the challenger, the champion's F1."""
    shared = [country for country in challenger.countries if country in set(champion.countries)]
    codes = np.array([shared.index(c) if c in shared else -1 for c in challenger.countries])
    (rows,) = np.nonzero(codes[truth] >= 0)
    if not len(rows):
        return {"rows": 0}, ["no test row is of a country that the champion knows"], {}
    labels = codes[truth[rows]]
    old, new = (model.predictions(shared)[rows] for model in (champion, challenger))
    before, f1 = _scores(labels, old, len(shared))
    after, _ = _scores(labels, new, len(shared))
    draws = paired_bootstrap(labels, old, new, len(shared), params.resamples, params.seed)
    lower, upper = np.quantile(draws, [1 - params.confidence, params.confidence], axis=0)
    compared: dict[str, Any] = {"rows": len(rows)}
    if list(champion.countries) == list(challenger.countries):
        apart = np.abs(champion.probabilities - challenger.probabilities)
        compared["probability_difference"] = float(np.nan_to_num(apart).max())
    faults = []
    for n, metric in enumerate(METRICS):
        numbers = {"champion": before, "challenger": after, "difference": after - before}
        numbers |= {"lower": lower, "upper": upper}
        margin: float = getattr(params, f"{metric}_margin")
        compared[metric] = {key: float(pair[n]) for key, pair in numbers.items()}
        compared[metric]["margin"] = margin
        if not lower[n] > margin:
            faults.append(
                f"{metric} {after[n]:.4f} against the champion's {before[n]:.4f}: "
                f"the difference may be as low as {lower[n]:+.4f} "
                f"(confidence {params.confidence:g}), not above the margin of {margin:+.4f}"
            )
    return compared, faults, {shared[n]: float(f1[n]) for n in np.unique(labels)}


def paired_bootstrap(
    labels: Codes, old: Codes, new: Codes, countries: int, resamples: int, seed: int
) -> Floats:
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
    labels: Codes, predictions: Codes, countries: int, weights: Codes | None = None
) -> tuple[Floats, Floats]:
    """(accuracy, macro-F1) and the F1 of each country; ``weights``: how often each row counts.

    F1 is 2 hits / (rows of the country + predictions of it), 0 for a country that does not occur;
    macro-F1 is the mean over those that occur.
    """
    weights = np.ones(len(labels), dtype=np.int64) if weights is None else weights
    hits = np.bincount(labels, weights * (labels == predictions), countries)
    # The first bin takes the rows without a prediction.
    predicted = np.bincount(predictions + 1, weights, countries + 1)[1:]
    total = np.bincount(labels, weights, countries) + predicted
    f1 = 2 * hits / np.maximum(total, 1)
    return np.array([hits.sum() / weights.sum(), f1[total > 0].mean()]), f1
