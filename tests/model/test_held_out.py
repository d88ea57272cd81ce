"""Names unlike those of the corpus are found, and a bundle keeps what that needs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.vocabulary import Vocabulary
from stages.model.held_out import FALSE_ALARMS, Familiarity, HeldOut, Letters, NgramSet

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
    (part,) = known(["Adam"], "Adan")
    assert 0 < part < 1


def test_case_and_accents_do_not_matter() -> None:
    assert known(["Amélie", "Müller"], "amelie", "AMELIE", "müller", "Muller") == [1, 1, 1, 1]


def test_ngrams_do_not_cross_names() -> None:
    assert known(["ab", "cd"], "ab", "abcd")[1] < known(["abcd"], "abcd")[0] == 1


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


def test_too_few_held_out_names_find_nothing_unfamiliar() -> None:
    assert not held_out().unfamiliar(np.array([8, 9, 10]), np.full((3, 2), -9.0)).any()


@given(st.integers(1, 9), st.integers(0, 99))
def test_unfamiliarity_of_a_name_does_not_depend_on_the_others(count: int, seed: int) -> None:
    model = held_out()
    measures = 3 * np.random.default_rng(seed).normal(size=(count, 2))
    same = np.full(count, 7)
    alone = [model.unfamiliar(same[:1], measures[n : n + 1])[0] for n in range(count)]
    assert model.unfamiliar(same, measures).tolist() == alone


def test_held_out_rows_come_back_from_a_bundle_as_they_were() -> None:
    random = np.random.default_rng(1)
    table = random.dirichlet([1, 1, 1], size=5)
    saved = HeldOut(
        prior=np.array([0.5, 0.3, 0.2]),
        thresholds=np.array([0.1, 0.2, 0.3]),
        labels=np.array([0, 1, 2, 1, 0]),
        probabilities=table,
        scripts=np.arange(5),
        measures=random.normal(size=(5, 2)).astype(np.float32),
        ngrams=random.integers(0, 256, 2**17).astype(np.uint8),
    )
    config = saved.to_config()
    found = HeldOut.from_config(config, 3)
    for name in ("prior", "thresholds", "labels", "scripts", "measures", "ngrams"):
        np.testing.assert_array_equal(getattr(found, name), getattr(saved, name))
    np.testing.assert_allclose(found.probabilities, table, rtol=0.07)
    for name in ("scripts", "ngrams", "labels"):
        with pytest.raises(ValueError):
            HeldOut.from_config({**config, name: ""}, 3)
    with pytest.raises(ValueError, match="fit together"):
        HeldOut.from_config({**config, "labels": "AwAAAAAAAAAAAA=="}, 3)  # label 3 of 3 countries
