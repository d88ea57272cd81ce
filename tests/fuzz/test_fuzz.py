"""A short, repeatable run of the fuzz targets; `make fuzz` is the long one."""

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_strangers_bytes_are_accepted_or_refused_in_one_line(name: str) -> None:
    assert fuzz(TARGETS[name], 50).keys() <= {"accepted", "refused"}


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_mutations_start_from_is_accepted(name: str) -> None:
    assert TARGETS[name].run(TARGETS[name].valid) == "accepted"
