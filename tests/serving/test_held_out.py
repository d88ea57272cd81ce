"""Names unlike those of the corpus are found, and sets of countries."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import combine_pvalues

from stages.corpus.vocabulary import Vocabulary
from stages.serving.held_out import (
    FALSE_ALARMS,
    HeldOut,
    Letters,
    prediction_sets,
    reweight,
)
from tests.serving import made

VOCABULARY = Vocabulary(
    "keep", ("CYRILLIC", "GREEK", "HYPHEN", "LATIN"), tuple("-AEILMabcdeéilnmruüИо")
)


def test_script_is_that_of_a_letter_and_one_met_in_training() -> None:
    wanted = {"Ada": "LATIN", "Ио": "CYRILLIC", "Ж": "CYRILLIC", "Γ": "GREEK"}
    wanted |= dict.fromkeys(("თბილისი", "कुमार", "123", "@", "-"))
    found = Letters(VOCABULARY).scripts(*VOCABULARY.encode(list(wanted))).tolist()
    assert [None if n < 0 else VOCABULARY.scripts[n] for n in found] == [*wanted.values()]


def known(trained: list[str], *names: str) -> list[float]:
    letters = Letters(VOCABULARY, made.known_ngrams(VOCABULARY, *trained))
    return letters.known(*VOCABULARY.encode(names)).tolist()


@pytest.mark.parametrize(
    ("trained", "shares"),
    [
        (["Adam", "Ali"], {"Adam": 1, "Ali": 1, "Bello": 0}),
        # Two of the 3-grams of Adan, with its begin and its end, are known, and one of its 4-grams.
        (["Adam"], {"Adan": (2 / 4 + 1 / 3) / 2, "e": 0.5}),  # e has no 4-gram
        (["Amélie", "Müller"], dict.fromkeys(("amelie", "AMELIE", "müller", "Muller"), 1)),
        (["ab", "cd"], {"ab": 1, "abcd": (2 / 4 + 0) / 2}),  # none that crosses names
        (["abcd"], {"abcd": 1}),
    ],
)
def test_ngrams_of_training_names_are_known_without_case_and_accents(
    trained: list[str], shares: dict[str, float]
) -> None:
    assert known(trained, *shares) == pytest.approx([*shares.values()])


def test_ngrams_of_a_bundle_that_an_earlier_version_wrote_are_found() -> None:
    bits = np.unpackbits(made.known_ngrams(VOCABULARY, "Éa"))
    assert np.flatnonzero(bits).tolist() == [99978, 234027, 783142]


def rows(scripts: NDArray[np.int64], measures: NDArray[np.float64]) -> HeldOut:
    return made.held_out(scripts=scripts, measures=measures)


def test_unfamiliar_names_have_the_lowest_p_values_by_fisher_s_method() -> None:
    random = np.random.default_rng(1)
    reference, names = random.normal(size=(1000, 2)), random.normal(size=(3000, 2)) - 1

    def combined(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of a name and the held-out ones, the share that is not above it, by both measures."""
        ranks = (reference <= values[:, None]).sum(axis=1)
        return combine_pvalues((ranks + 1) / (len(reference) + 1), axis=1).statistic

    limit = np.quantile(combined(reference), 1 - FALSE_ALARMS)
    found = rows(np.zeros(1000, int), reference).unfamiliar(np.zeros(3000), names)
    assert found.tolist() == (combined(names) > limit).tolist()


def test_scripts_with_few_held_out_names_are_judged_by_all_of_those_if_these_are_enough() -> None:
    # Script 1 has names enough, and low measures; 8 and 9 have enough only together.
    scripts = np.repeat([1, 8, 9], [100, 60, 60])
    measures = np.random.default_rng(1).normal(size=(220, 2))
    measures[scripts == 1] -= 9
    asked, lows = np.array([1, 8, 9, 10, 1]), np.repeat([-9.0, -18.0], [8, 2]).reshape(5, 2)
    found = rows(scripts, measures).unfamiliar(asked, lows)
    assert found.tolist() == [False, True, True, True, True]
    few = rows(np.repeat([1, 8, 9], [100, 20, 5]), np.zeros((125, 2)))
    found = few.unfamiliar(np.array([1, 8, 9, 10]), np.full((4, 2), -9.0))
    assert found.tolist() == [True, False, False, False]


def test_a_country_at_its_threshold_is_in_the_set() -> None:
    table = np.array([[0.5, 0.25, 0.25]])
    assert prediction_sets(table, np.array([0.9, 0.25, 0.26])).tolist() == [[True, True, False]]


def test_a_country_that_the_prior_lacks_does_not_break_the_answer() -> None:
    table, prior = np.array([[0.5, 0.5, 0.0]]), np.array([0.5, 0.5, 0.0])
    assert reweight(table, prior, np.array([0.8, 0.1, 0.1]))[0] == pytest.approx([8 / 9, 1 / 9, 0])
