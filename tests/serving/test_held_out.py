"""Names unlike those of the corpus are found, and a bundle keeps what that needs."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import combine_pvalues

from stages.corpus.vocabulary import Vocabulary
from stages.serving.held_out import (
    FALSE_ALARMS,
    MOST_CELLS,
    MOST_ROWS,
    TYPES,
    Familiarity,
    HeldOut,
    Letters,
    NgramSet,
    prediction_sets,
    reweight,
)

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


def held_out() -> Familiarity:
    random = np.random.default_rng(1)
    return Familiarity(np.repeat([7, 8, 9], [1000, 20, 5]), random.normal(size=(1025, 2)))


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
    found = Familiarity(np.zeros(300), reference).unfamiliar(np.zeros(3000), names)
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
    found = Familiarity(scripts, measures).unfamiliar(asked, np.full((4, 2), -9.0))
    assert found.tolist() == [False, True, True, True]
    assert Familiarity(scripts, measures).unfamiliar(asked[:1], np.full((1, 2), -18.0)).all()


@given(st.integers(1, 9), st.integers(0, 99))
def test_unfamiliarity_of_a_name_does_not_depend_on_the_others(count: int, seed: int) -> None:
    model = held_out()
    measures = 3 * np.random.default_rng(seed).normal(size=(count, 2))
    same = np.full(count, 7)
    alone = [model.unfamiliar(same[:1], measures[n : n + 1])[0] for n in range(count)]
    assert model.unfamiliar(same, measures).tolist() == alone


def made(rows: int = 5, countries: int = 3) -> HeldOut:
    random = np.random.default_rng(1)
    return HeldOut(
        prior=np.full(countries, 1 / countries),
        thresholds=np.linspace(0.1, 0.3, countries),
        labels=np.arange(rows) % countries,
        probabilities=random.dirichlet(np.ones(countries), size=rows),
        scripts=np.arange(rows),
        measures=random.normal(size=(rows, 2)).astype(np.float32),
        ngrams=random.integers(0, 256, 2**17).astype(np.uint8),
    )


def test_held_out_rows_come_back_from_a_bundle_as_they_were() -> None:
    saved = made()
    found = HeldOut.from_config(saved.to_config(), 3)
    for name in ("prior", "thresholds", "labels", "scripts", "measures", "ngrams"):
        np.testing.assert_array_equal(getattr(found, name), getattr(saved, name))
    np.testing.assert_allclose(found.probabilities, saved.probabilities, rtol=0.07)
    assert found.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-12)


def test_probabilities_of_a_bundle_that_an_earlier_version_wrote_are_read() -> None:
    # A byte is the negative log in sixteenths.
    packed = {"probabilities": base64.b64encode(bytes([0, 16, 32])).decode()}
    (found,) = HeldOut.from_config(made(1).to_config() | packed, 3).probabilities
    assert found == pytest.approx(np.exp([0, -1, -2]) / np.exp([0, -1, -2]).sum())


@pytest.mark.parametrize(("rows", "countries"), [(MOST_ROWS + 1, 2), (2000, 600), (7, 2)])
def test_a_bounded_part_of_the_held_out_rows_is_kept_evenly_spaced(
    rows: int, countries: int
) -> None:
    saved = made(rows, countries)
    found = HeldOut.from_config(saved.to_config(), countries)
    kept = len(found.labels)
    step = round(rows / kept)
    assert kept <= MOST_ROWS and kept * countries <= MOST_CELLS
    assert 2 * kept >= min(rows, MOST_ROWS, MOST_CELLS // countries)
    np.testing.assert_array_equal(found.measures, saved.measures[::step])
    np.testing.assert_array_equal(found.labels, saved.labels[::step])


@pytest.mark.parametrize(
    ("part", "values"),
    [
        *(("prior", values) for values in ([0.5, 0.5], [-0.1, 0.5, 0.6], [np.nan, 0.5, 0.5])),
        *(("thresholds", values) for values in ([0.1], [-0.1, 0.1, 0.1])),
        *(("labels", values) for values in ([0, 1, 2, 3, 0], [])),
        *(("scripts", values) for values in ([0] * 4, [])),
        *(("measures", values) for values in ([0] * 9, [np.nan] * 10)),
        *(("probabilities", values) for values in ([0] * 14, [])),
        *(("ngrams", values) for values in ([0] * 2**16, [])),
    ],
)
def test_arrays_of_a_bundle_that_do_not_fit_together_are_refused(
    part: str, values: list[float]
) -> None:
    packed = base64.b64encode(np.array(values).astype(TYPES[part]).tobytes()).decode()
    with pytest.raises(ValueError, match=r"fit together|reshape"):
        HeldOut.from_config(made().to_config() | {part: packed}, 3)


def test_a_country_may_have_no_share_of_the_training_names_and_no_threshold() -> None:
    none = base64.b64encode(np.array([0, 0.5, 0.5]).tobytes()).decode()
    found = HeldOut.from_config(made().to_config() | {"prior": none, "thresholds": none}, 3)
    assert (found.prior[0], found.thresholds[0]) == (0, 0)


def test_a_bundle_needs_each_array_and_at_least_one_row() -> None:
    config = made().to_config()
    with pytest.raises(ValueError, match="held_out needs prior, thresholds, labels"):
        HeldOut.from_config({name: config[name] for name in TYPES if name != "prior"}, 3)
    none = dict.fromkeys(("labels", "probabilities", "scripts", "measures"), "")
    with pytest.raises(ValueError, match="fit together"):
        HeldOut.from_config(config | none, 3)


def test_a_country_at_its_threshold_is_in_the_set() -> None:
    table = np.array([[0.5, 0.25, 0.25]])
    assert prediction_sets(table, np.array([0.9, 0.25, 0.26])).tolist() == [[True, True, False]]


def test_a_country_that_the_prior_lacks_does_not_break_the_answer() -> None:
    table, prior = np.array([[0.5, 0.5, 0.0]]), np.array([0.5, 0.5, 0.0])
    assert reweight(table, prior, np.array([0.8, 0.1, 0.1]))[0] == pytest.approx([8 / 9, 1 / 9, 0])
