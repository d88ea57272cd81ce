"""Shares of a population come out right, with intervals, and notes where they cannot be trusted."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.serving import shares
from stages.serving.held_out import HeldOut, reweight
from stages.serving.shares import Population, effective_names, estimate_shares
from tests.serving import made
from tests.serving.made import PRIOR, distance, population

SHIFTED = np.array([0.1, 0.1, 0.2, 0.6])
EVEN = np.full(5, 0.2)


def held_out(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], prior: NDArray = PRIOR
) -> HeldOut:
    answers = {"probabilities": probabilities, "prior": prior[None]}
    return made.held_out(len(labels), labels=labels, **answers)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "RESAMPLES", 30)


def asked(answers: NDArray, rows: HeldOut, kinds: NDArray | int = 0, unsure: int = 0) -> Population:
    """A population with these answers, the last of which are unsure."""
    population = Population("ABCDE"[: answers.shape[1]], rows, seed=1)
    reasons = np.repeat([0, 1], [len(answers) - unsure, unsure])
    population.add(answers.astype(np.float32), reasons, np.broadcast_to(kinds, len(answers)))
    return population


def width(probabilities: NDArray[np.float64], rows: HeldOut) -> float:
    """Of all intervals together."""
    estimate = asked(probabilities, rows).estimate()
    return (estimate.upper - estimate.lower).sum()


@pytest.mark.parametrize("truth", [PRIOR, SHIFTED])
def test_intervals_cover_the_truth(truth: NDArray[np.float64]) -> None:
    covered = []
    for seed in range(20):
        rows = held_out(*population(PRIOR, 300, 1000 + seed))
        probabilities, _ = population(truth, 400, seed)
        estimate = asked(probabilities, rows).estimate()
        covered.append((estimate.lower <= truth) & (truth <= estimate.upper))
    assert np.mean(covered) >= 0.85


@pytest.mark.parametrize("truth", [PRIOR, SHIFTED])
def test_with_many_held_out_rows_intervals_are_as_wide_as_chance(
    truth: NDArray[np.float64],
) -> None:
    rows = held_out(*population(PRIOR, 30_000, 1000))
    samples = [population(truth, 400, seed)[0] for seed in range(3, 43)]
    estimate = asked(samples[0], rows).estimate()
    is_shifted = truth is SHIFTED
    assert estimate.method == ("em" if is_shifted else "mean")
    priors = np.tile(PRIOR, (400, 1))
    estimates = [
        estimate_shares(table, priors) if is_shifted else table.mean(axis=0) for table in samples
    ]
    assert estimate.shares == pytest.approx(estimates[0])
    ratios = (estimate.upper - estimate.lower) / 2 / np.std(estimates, axis=0)
    assert ratios.mean() == pytest.approx(1.96, rel=0.25)


def test_intervals_are_wider_of_repeated_names_and_of_rarer_ones_than_the_held_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, (names, _) = held_out(*population(PRIOR, 3000, 1)), population(PRIOR[::-1], 4000, 2)
    whole = width(names, rows)
    assert width(np.tile(names[:40], (100, 1)), rows) > 1.3 * whole
    monkeypatch.setattr(shares, "STRAY", 1)  # in place of 6
    assert whole > 1.8 * width(names, rows)
    # Two names, one of them twice; the second country is of that one, the last of none.
    answers = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.75, 0.0, 0.0]])
    assert effective_names(answers) == pytest.approx([1.75**2 / (1 + 0.75**2), 1, 1])


@pytest.mark.parametrize("number", [0, 1])
def test_a_country_without_held_out_rows_has_no_narrow_interval(number: int) -> None:
    answers, labels = population(PRIOR, 300, 1)
    kept = (labels != 3) | ((labels == 3).cumsum() <= number)
    probabilities, _ = population(PRIOR, 400, 2)
    estimate = asked(probabilities, held_out(answers[kept], labels[kept])).estimate()
    assert (estimate.lower[3] <= 0 and estimate.upper[3] >= 1) == (number == 0)


def test_intervals_come_from_held_out_rows_of_the_kind_that_is_asked() -> None:
    sure, unsure = np.eye(2)[[0, 1] * 50], np.full((100, 2), 0.5)
    rows = made.held_out(
        probabilities=np.concatenate([sure, unsure]),
        labels=np.arange(200) % 2,
        prior=np.full((2, 2), 0.5),
        kinds=np.repeat([0, 1], 100),
    )
    column = np.tile([0.9, 0.9, 0.9, 0.1], 100) + np.linspace(0, 0.01, 400)
    names = np.stack([column, 1 - column], axis=1)
    (_, low, high, _), (_, lower, higher, _) = (asked(names, rows, n).estimate() for n in (0, 1))
    assert higher[0] - lower[0] > 2 * (high[0] - low[0])


def test_each_kind_of_name_has_its_own_prior() -> None:
    probabilities, labels = population(PRIOR, 3000, 1)
    kinds = np.arange(3000) % 2
    prior = np.stack([PRIOR, PRIOR[::-1]])
    answers = reweight(probabilities, PRIOR, prior[kinds]).astype(np.float32)
    rows = made.held_out(prior=prior, probabilities=answers, labels=labels, kinds=kinds)
    names, _ = population(np.full(4, 0.25), 4000, 2)
    for own in (0, 1, np.arange(4000) % 2):
        found = asked(reweight(names, PRIOR, prior[own]), rows, own).estimate().shares
        assert distance(found, np.full(4, 0.25)) < 0.03


# A population of five countries, whose prior is even.


SURE = np.eye(5)[:1]


def people(*countries: int, unsure: int = 0, rows: NDArray = SURE) -> Population:
    """A population of names that belong to these countries for sure.

    Args:
        countries: those of the names.
        unsure: the number of names without an answer.
        rows: the answers to held-out names, one of each country.
    """
    known = held_out(rows, np.arange(len(rows)), EVEN)
    return asked(np.eye(5)[[*countries, *[0] * unsure]], known, unsure=unsure)


@pytest.mark.filterwarnings("error")
def test_notes_say_which_shares_cannot_be_trusted() -> None:
    rows = np.array([[0.6, 0.1, 0.1, 0.1, 0.1], [0.3, 0.4, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6, 0]])
    summary = people(*[0, 1, 2] * 31, *[3] * 7, 4, rows=rows).summary(EVEN)
    assert summary["notes"] == [
        "B is hard to tell from A",  # most of its own rows' probability is elsewhere
        "C is hard to tell from D",
        "D: no held-out rows, so nothing checks it",  # E has too few names for a note
    ]
    assert (summary["method"], summary["effective_names"]) == ("prior", 101)
    first, *_, last = summary["shares"]
    assert (first["plain"], last["country"]) == (round(31 / 101, 6), "E")
    for unsure, noted in ((20, []), (21, ["21% of the names are unsure"])):  # a fifth is not many
        notes = people(*[0] * 80, unsure=unsure, rows=EVEN[None]).summary(EVEN)["notes"]
        assert [note.split(":")[0] for note in notes if "unsure" in note] == noted
    even = asked(np.full((200, 5), 0.2), held_out(np.eye(5), np.arange(5), EVEN)).summary(EVEN)
    assert even["notes"] == ["few names: they tell as much as 0 of known country"]
    nothing = people(unsure=3)
    summary = nothing.summary()
    assert "no name can be used" in summary["notes"][0]
    assert (summary["shares"], summary["method"]) == ([], "mean")
    assert [end.tolist() for end in nothing.estimate()[1:3]] == [[0.0] * 5, [1.0] * 5]


def test_with_a_prior_the_interval_is_that_of_the_mean_or_of_a_share() -> None:
    estimate = people(*[0, 1, 1, 1] * 25).estimate(EVEN)
    half = 1.96 * np.sqrt(0.25 * 0.75 / 100)  # the others are Wilson's of 25, 75 and 0 of 100
    assert estimate.lower == pytest.approx([0.25 - half, 0.6570, 0, 0, 0], abs=1e-4)
    assert estimate.upper == pytest.approx([0.3430, 0.75 + half, 0.0370, 0.0370, 0.0370], abs=1e-4)


def test_the_sample_is_bounded_and_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "SAMPLE_CELLS", 2000)
    population = Population("AB", made.held_out(countries=2), seed=1)
    for start in range(0, 100_000, 10_000):
        column = np.arange(start, start + 10_000, dtype=np.float32) / 100_000
        table = np.stack([column, 1 - column], axis=1)
        population.add(table, *np.zeros((2, len(table)), dtype=np.uint8))
        assert len(population.sample) <= 1000
    assert population.total[0] / population.used == pytest.approx(0.5, abs=1e-4)
    assert population.sample[:, 0].mean() == pytest.approx(0.5, abs=0.05)
