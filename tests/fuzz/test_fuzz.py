"""A short, repeatable run of the fuzz targets; `make fuzz` is the long one."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_strangers_bytes_are_accepted_or_refused_in_one_line(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=50,
        derandomize=True,
        database=None,
        deadline=10_000,  # milliseconds per input: a hang fails
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def one(value: object) -> None:
        assert target.run(value) in ("accepted", "refused")

    one()


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_mutations_start_from_is_accepted(name: str) -> None:
    assert TARGETS[name].run(TARGETS[name].valid) == "accepted"
