"""Names unlike those of the corpus are found, and sets of countries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import combine_pvalues

from stages.corpus.vocabulary import Vocabulary
from stages.serving.held_out import (
    FALSE_ALARMS,
    HeldOut,
    Letters,
    NgramSet,
    prediction_sets,
    reweight,
)
from tests.serving import made

VOCABULARY = Vocabulary(
    "keep", ("CYRILLIC", "GREEK", "HYPHEN", "LATIN"), tuple("-AEILMabcdeéilnmruüИо")
)
LETTERS = Letters(VOCABULARY)


def scripts(*names: str) -> list[int]:
    return LETTERS.scripts(*VOCABULARY.encode(names)).tolist()


def test_script_is_that_of_a_letter_met_in_training() -> None:
    cyrillic, greek, _, latin = range(4)
    assert scripts("Ada", "Ио", "-", "Ж", "Γ") == [latin, cyrillic, -1, cyrillic, greek]


def test_letters_of_other_scripts_and_symbols_have_no_script() -> None:
    assert scripts("თბილისი", "कुमार", "123", "@", "-") == [-1] * 5


def known(trained: list[str], *names: str) -> list[float]:
    found = NgramSet(LETTERS)
    found.add(VOCABULARY.encode(trained)[0])
    return NgramSet(LETTERS, found.bits).known(*VOCABULARY.encode(names)).tolist()


def test_known_share_is_one_for_training_names_and_none_for_others() -> None:
    assert known(["Adam", "Ali"], "Adam", "Ali", "Bello") == [1, 1, 0]
    # Two of the 3-grams of Adan, with its begin and its end, are known, and one of its 4-grams.
    assert known(["Adam"], "Adan") == pytest.approx([(2 / 4 + 1 / 3) / 2])
    assert known(["Adam"], "e") == [0.5]  # it has no 4-gram


def test_case_and_accents_do_not_matter() -> None:
    assert known(["Amélie", "Müller"], "amelie", "AMELIE", "müller", "Muller") == [1, 1, 1, 1]


def test_ngrams_do_not_cross_names() -> None:
    assert known(["ab", "cd"], "ab", "abcd")[1] < known(["abcd"], "abcd")[0] == 1


def test_ngrams_of_a_bundle_that_an_earlier_version_wrote_are_found() -> None:
    found = NgramSet(LETTERS)
    found.add(VOCABULARY.encode(["Éa"])[0])
    assert np.flatnonzero(np.unpackbits(found.bits)).tolist() == [99978, 234027, 783142]


names = st.lists(st.text("abcdeilm", min_size=1, max_size=6), min_size=1, max_size=9)


@given(names, names)
def test_a_name_is_measured_alike_alone_and_among_others(
    trained: list[str], asked: list[str]
) -> None:
    assert known(trained, *asked) == [known(trained, name)[0] for name in asked]


def rows(scripts: NDArray[np.int64], measures: NDArray[np.float64]) -> HeldOut:
    return made.held_out(scripts=scripts, measures=measures)


def held_out() -> HeldOut:
    random = np.random.default_rng(1)
    return rows(np.repeat([7, 8, 9], [1000, 20, 5]), random.normal(size=(1025, 2)))


def test_few_names_like_the_held_out_ones_are_unfamiliar_and_most_strange_ones_are() -> None:
    model = held_out()
    alike = np.random.default_rng(2).normal(size=(5000, 2))
    same = np.full(5000, 7)
    assert model.unfamiliar(same, alike).mean() == pytest.approx(FALSE_ALARMS, abs=0.01)
    # One measure that is very low is enough, and so are two that are lowish.
    for shift in ([-5, 0], [0, -5], [-3, -3]):
        assert model.unfamiliar(same, alike + np.array(shift)).mean() > 0.9


def test_unfamiliar_names_have_the_lowest_p_values_by_fisher_s_method() -> None:
    random = np.random.default_rng(1)
    reference, names = random.normal(size=(300, 2)), random.normal(size=(3000, 2)) - 1

    def combined(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of a name and the held-out ones, the share that is not above it, by both measures."""
        ranks = (reference <= values[:, None]).sum(axis=1)
        return combine_pvalues((ranks + 1) / (len(reference) + 1), axis=1).statistic

    limit = np.quantile(combined(reference), 1 - FALSE_ALARMS)
    found = rows(np.zeros(300, int), reference).unfamiliar(np.zeros(3000), names)
    assert 0 < found.mean() < 1
    assert found.tolist() == (combined(names) > limit).tolist()


def test_too_few_held_out_names_find_nothing_unfamiliar() -> None:
    assert not held_out().unfamiliar(np.array([8, 9, 10]), np.full((3, 2), -9.0)).any()


def test_scripts_with_few_held_out_names_are_judged_by_all_of_those() -> None:
    # Script 1 has names enough, and low measures; 8 and 9 have enough only together.
    scripts = np.repeat([1, 8, 9], [100, 60, 60])
    measures = np.random.default_rng(1).normal(size=(220, 2))
    measures[scripts == 1] -= 9
    asked = np.array([1, 8, 9, 10])
    found = rows(scripts, measures).unfamiliar(asked, np.full((4, 2), -9.0))
    assert found.tolist() == [False, True, True, True]
    assert rows(scripts, measures).unfamiliar(asked[:1], np.full((1, 2), -18.0)).all()


@given(st.integers(1, 9), st.integers(0, 99))
def test_unfamiliarity_of_a_name_does_not_depend_on_the_others(count: int, seed: int) -> None:
    model = held_out()
    measures = 3 * np.random.default_rng(seed).normal(size=(count, 2))
    same = np.full(count, 7)
    alone = [model.unfamiliar(same[:1], measures[n : n + 1])[0] for n in range(count)]
    assert model.unfamiliar(same, measures).tolist() == alone


def test_a_country_at_its_threshold_is_in_the_set() -> None:
    table = np.array([[0.5, 0.25, 0.25]])
    assert prediction_sets(table, np.array([0.9, 0.25, 0.26])).tolist() == [[True, True, False]]


def test_a_country_that_the_prior_lacks_does_not_break_the_answer() -> None:
    table, prior = np.array([[0.5, 0.5, 0.0]]), np.array([0.5, 0.5, 0.0])
    assert reweight(table, prior, np.array([0.8, 0.1, 0.1]))[0] == pytest.approx([8 / 9, 1 / 9, 0])
