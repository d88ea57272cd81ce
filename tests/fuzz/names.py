"""Fuzz target: what callers of the Python API may have for names."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from stages.serving.predictor import Predictor
from tests.fuzz.inputs import Target, outcome
from tests.serving.made import config, held_out

texts = st.text(max_size=12) | st.sampled_from(
    ["Abc", "Abc Cab", "Cab, Dr. Abc", "佐藤 健", "C. A."]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=3)
scalars |= st.sampled_from([pd.NA, pd.NaT, np.float32("nan"), np.zeros(2), object(), ("a",), {}])
values = st.lists(texts | scalars, max_size=5)
CONTAINERS: list[Callable] = [list, tuple, iter, lambda rows: pd.Series(rows, dtype=object)]
CONTAINERS += [lambda rows: np.fromiter(rows, object, len(rows))]


@cache
def model(names: str) -> Predictor:
    """A model of three countries that answers the same to every name."""
    kinds = 2 if names == "both" else 1
    rows = held_out(thresholds=np.full((kinds, 3), 0.1))
    made = config(names=names, temperatures=[1.0] * kinds, held_out=rows)
    return Predictor(lambda codes: np.zeros((len(codes), 3), np.float32), made)


def ask(inputs: tuple) -> str:
    """Every value has a row: with a country, or without and with a reason."""
    names, rows, given, container, full_names = inputs

    def work() -> None:
        first_names = container((given * len(rows))[: len(rows)]) if given else None
        table = model(names).frame(container(rows), full_names=full_names, given=first_names)
        assert len(table) == len(rows)
        assert (table["country"].isna() == table["probability"].isna()).all()
        assert table.loc[table["country"].isna(), "reason"].notna().all()
        for value, text in zip(rows, table["country"].notna(), strict=True):
            assert isinstance(value, str) or not text

    return outcome(work)


kinds = st.sampled_from(["surnames", "full", "both"])
TARGETS = {
    "names": Target(
        ("both", ["Abc"], ["Cab"], list, False),
        st.tuples(kinds, values, values, st.sampled_from(CONTAINERS), st.booleans()),
        ask,
    )
}
