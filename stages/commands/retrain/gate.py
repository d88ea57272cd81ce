"""Whether a newly trained model, the challenger, may replace the one in use, the champion.

Both answer the same test names. Accuracy and macro-F1 are compared by a paired bootstrap (Efron &
Tibshirani, An Introduction to the Bootstrap, 1993): the test rows are drawn anew, with both
answers on each of them, and the differences of the draws tell how sure the gain is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stages.core.params import GateParams

Places = NDArray[np.integer[Any]]

CELLS = 2**22  # counts held in memory at once


@dataclass(frozen=True)
class Answers:
    """What one model says to the test names.

    Attributes:
        countries: those that it knows.
        probabilities: (rows, countries); a row of NaN is a name that it cannot read.
    """

    countries: Sequence[str]
    probabilities: NDArray[np.floating[Any]]

    def guesses(self, among: Sequence[str]) -> Places:
        """(rows,) place in ``among`` of the likeliest of these countries; -1 for unreadable names.

        Every country of ``among`` must be one that the model knows.
        """
        place = {country: n for n, country in enumerate(self.countries)}
        table = self.probabilities[:, [place[country] for country in among]]
        unreadable = np.isnan(table).any(axis=1)
        return np.where(unreadable, -1, np.where(np.isnan(table), 0, table).argmax(axis=1))


def judge(
    labels: Sequence[str],
    challenger: Answers,
    champion: Answers | None,
    baseline: Mapping[str, float],
    params: GateParams,
) -> dict[str, Any]:
    """The verdict, as it is written to metrics/gate.json.

    Args:
        labels: (rows,) true country of each test name, one that the challenger knows.
        challenger: its answers, in the order of ``labels``.
        champion: its answers to the same names; None if there is no champion yet, and then only
            the floors and the baseline count.
        baseline: ``accuracy`` and ``macro_f1`` of the linear baseline on the same rows.
        params: the thresholds.

    Returns:
        ``verdict`` ("promote" or "reject"), ``reason`` in words, and every number behind it:
        scalars in nested mappings, as DVC's metrics want them.
    """
    place = {country: n for n, country in enumerate(challenger.countries)}
    truth = np.array([place[country] for country in labels], dtype=np.int64)
    guesses = challenger.guesses(challenger.countries)
    own = dict(zip(("accuracy", "macro_f1"), _scores(truth, guesses, len(place)), strict=True))

    faults: list[str] = []
    notes: list[str] = []
    found: dict[str, Any] = {"rows": len(truth), "challenger": own, "baseline": {}}
    for metric, value in own.items():
        bar = float(baseline[metric]) + params.baseline_margin
        found["baseline"][metric] = {"value": float(baseline[metric]), "bar": bar}
        if value < bar:
            faults.append(f"{metric} {value:.4f} is below the baseline's bar of {bar:.4f}")

    shared: list[str] = []
    old_f1: dict[str, float] = {}
    if champion is None:
        notes.append("there is no champion yet, so only the floors and the baseline count")
    else:
        known = set(champion.countries)
        shared = [country for country in challenger.countries if country in known]
        found["champion"], words, old_f1 = _duel(truth, challenger, champion, shared, params)
        faults += words
        if known != set(challenger.countries):
            rows = found["champion"]["rows"]
            notes.append(
                f"the countries changed: compared on the {len(shared)} shared ones, {rows} rows"
            )

    floors = _floors(truth, guesses, challenger.countries, old_f1, params)
    found["per_country"] = floors
    faults += [
        f"F1 of {country} {numbers['f1']:.4f} is below its floor of {numbers['floor']:.4f}"
        for country, numbers in floors.items()
        if numbers["f1"] < numbers["floor"]
    ]
    if faults:
        reason = "; ".join(faults + notes)
    else:
        bars = "above the baseline and the floors"
        reason = "; ".join([f"better than the champion, {bars}" if champion else bars, *notes])
    return {"verdict": "reject" if faults else "promote", "reason": reason, **found}


def _duel(
    truth: Places,
    challenger: Answers,
    champion: Answers,
    shared: list[str],
    params: GateParams,
) -> tuple[dict[str, Any], list[str], dict[str, float]]:
    """Numbers of the comparison, what speaks against the challenger, the champion's F1 values."""
    places = {country: n for n, country in enumerate(shared)}
    place = np.array([places.get(country, -1) for country in challenger.countries])
    rows = np.flatnonzero(place[truth] >= 0)
    if not len(rows):
        return {"rows": 0}, ["no test row is of a country that the champion knows"], {}
    labels = place[truth[rows]]
    old, new = (model.guesses(shared)[rows] for model in (champion, challenger))
    values = [_scores(labels, guesses, len(shared)) for guesses in (old, new)]
    draws = paired_bootstrap(labels, old, new, len(shared), params.resamples, params.seed)
    found: dict[str, Any] = {"rows": len(rows)}
    faults = []
    margins = {"accuracy": params.accuracy_margin, "macro_f1": params.macro_f1_margin}
    for column, (metric, margin) in enumerate(margins.items()):
        before, after = (pair[column] for pair in values)
        tail = 1 - params.confidence
        lower, upper = (float(q) for q in np.quantile(draws[:, column], [tail, 1 - tail]))
        found[metric] = {
            "champion": before,
            "challenger": after,
            "difference": after - before,
            "lower": lower,
            "upper": upper,
            "margin": margin,
        }
        if not lower > margin:
            faults.append(
                f"{metric} {after:.4f} against the champion's {before:.4f}: "
                f"the difference may be as low as {lower:+.4f} "
                f"(confidence {params.confidence:g}), not above the margin of {margin:+.4f}"
            )
    support, f1 = _f1(labels, old, len(shared))
    old_f1 = {shared[n]: float(f1[n]) for n in np.flatnonzero(support)}
    return found, faults, old_f1


def _floors(
    truth: Places,
    guesses: Places,
    countries: Sequence[str],
    old_f1: Mapping[str, float],
    params: GateParams,
) -> dict[str, dict[str, float | int]]:
    """F1 and its floor for each country with enough test rows."""
    support, f1 = _f1(truth, guesses, len(countries))
    floors: dict[str, dict[str, float | int]] = {}
    for n, country in enumerate(countries):
        if support[n] < params.floor_support:
            continue
        floor = params.floor_f1
        if country in old_f1:
            floor = max(floor, old_f1[country] - params.floor_drop)
        floors[country] = {"support": int(support[n]), "f1": float(f1[n]), "floor": floor}
    return floors


def paired_bootstrap(
    labels: Places, old: Places, new: Places, countries: int, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Differences (new minus old) of accuracy and macro-F1 over resampled rows.

    Rows on which label and both guesses agree are alike, so that a draw of rows is a multinomial
    draw of how often each kind of row occurs: the cost grows with the kinds, not with the rows.

    Args:
        labels: (rows,) places of the true countries.
        old: (rows,) places of one model's guesses; -1 for none.
        new: (rows,) places of the other's.
        countries: number of countries.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        (resamples, 2): accuracy, macro-F1.
    """
    kinds, counts = np.unique(np.stack([labels, old, new], axis=1), axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    models = [_Tally(kinds[:, 0], kinds[:, guess], countries) for guess in (1, 2)]
    differences = []
    for size in _portions(resamples, max(1, CELLS // max(len(kinds), countries))):
        drawn = random.multinomial(len(labels), counts / len(labels), size=size)
        before, after = (tally.scores(drawn) for tally in models)
        differences.append(after - before)
    return np.concatenate(differences)


class _Tally:
    """From how often each kind of row occurs to accuracy and macro-F1, many draws at once."""

    def __init__(self, labels: Places, guesses: Places, countries: int) -> None:
        kinds = np.arange(len(labels))
        shape = (len(labels), countries)
        hits = labels == guesses
        ones = np.ones(len(labels), dtype=np.int64)
        said = guesses >= 0
        # F1 = 2 hits / (rows of the country + guesses of it), Sørensen's form.
        self._hits = csr_array((ones[hits], (kinds[hits], labels[hits])), shape)
        self._total = csr_array((ones, (kinds, labels)), shape) + csr_array(
            (ones[said], (kinds[said], guesses[said])), shape
        )

    def f1(self, counts: Places) -> NDArray[np.float64]:
        """(draws, kinds) -> (draws, countries), NaN where neither rows nor guesses occur."""
        hits, total = counts @ self._hits, counts @ self._total
        scores: NDArray[np.float64] = np.full(hits.shape, np.nan)
        np.divide(2 * hits, total, out=scores, where=total > 0)
        return scores

    def scores(self, counts: Places) -> NDArray[np.float64]:
        """(draws, kinds) -> (draws, 2): accuracy, and macro-F1 over the countries that occur."""
        accuracy = (counts @ self._hits).sum(axis=1) / counts.sum(axis=1)
        return np.stack([accuracy, np.nanmean(self.f1(counts), axis=1)], axis=1)


def _scores(labels: Places, guesses: Places, countries: int) -> tuple[float, float]:
    kinds, counts = np.unique(np.stack([labels, guesses], axis=1), axis=0, return_counts=True)
    accuracy, macro_f1 = _Tally(kinds[:, 0], kinds[:, 1], countries).scores(counts[None])[0]
    return float(accuracy), float(macro_f1)


def _f1(labels: Places, guesses: Places, countries: int) -> tuple[Places, NDArray[np.float64]]:
    """Support and F1 of each country; F1 is 0 where nothing occurs."""
    kinds, counts = np.unique(np.stack([labels, guesses], axis=1), axis=0, return_counts=True)
    f1 = _Tally(kinds[:, 0], kinds[:, 1], countries).f1(counts[None])[0]
    return np.bincount(labels, minlength=countries), np.nan_to_num(f1)


def _portions(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)
