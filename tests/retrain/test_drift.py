import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.retrain.drift import Profile, drift


def profile(*rows: tuple[str, str]) -> Profile:
    made = Profile()
    made.add([name for name, _ in rows], [country for _, country in rows])
    return made


def test_the_same_data_has_not_drifted() -> None:
    same = profile(("Abe", "Japan"), ("Li", "China"))
    found = drift(same, same)
    assert found["distance"] == {"countries": 0.0, "lengths": 0.0, "characters": 0.0}
    assert not found["new_characters"]
    assert not found["vanished_countries"]


def test_new_and_vanished_characters_and_countries_are_named_with_their_counts() -> None:
    found = drift(
        profile(("Abe", "Japan"), ("Li", "China")),
        profile(("Abe", "Japan"), ("Øye", "Norway"), ("Øø", "Norway")),
    )
    assert list(found["new_characters"].items()) == [("Ø", 2), ("y", 1), ("ø", 1)]
    assert found["vanished_characters"] == {"L": 1, "i": 1}
    assert found["new_countries"] == {"Norway": 2}
    assert found["vanished_countries"] == {"China": 1}
    assert found["shares"]["Norway"] == (0.0, 2 / 3)
    assert next(iter(found["shares"])) == "Norway"
    assert found["mean_length"] == (2.5, 8 / 3)


def test_data_with_nothing_in_common_is_at_distance_1() -> None:
    found = drift(profile(("ab", "X")), profile(("cde", "Y")))
    for distance in found["distance"].values():
        assert math.isclose(distance, 1.0)


names = st.tuples(st.text(min_size=1, max_size=5), st.sampled_from("XYZ"))


@given(st.lists(names, min_size=1), st.lists(names, min_size=1))
def test_distances_are_symmetric_and_within_0_and_1(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    # Lone surrogates never pass ingest.
    one, other = (
        [(n.encode("utf-8", "ignore").decode() or "a", c) for n, c in rows] for rows in (one, other)
    )
    there, back = drift(profile(*one), profile(*other)), drift(profile(*other), profile(*one))
    for part, distance in there["distance"].items():
        assert 0 <= distance <= 1 + 1e-9
        assert distance == pytest.approx(back["distance"][part])
    assert there["new_characters"] == back["vanished_characters"]


def test_chunks_add_up_to_the_whole() -> None:
    chunks = Profile()
    chunks.add(["Abe"], ["Japan"])
    chunks.add(["Li", "Ito"], ["China", "Japan"])
    whole = profile(("Abe", "Japan"), ("Li", "China"), ("Ito", "Japan"))
    assert drift(chunks, whole)["distance"]["characters"] == 0.0
    assert chunks.countries == whole.countries
    assert chunks.lengths == whole.lengths
