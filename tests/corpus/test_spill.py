"""Keys on disk: the same everywhere, spread evenly, and counted by sorting."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.spill import PARTITIONS, Spill, among, distinct, hashes

KEYS = np.dtype([("key", "<u8"), ("row", "<i8")])


@given(st.lists(st.text(max_size=5)))
def test_texts_have_the_same_key_if_and_only_if_they_are_equal(texts: list[str]) -> None:
    keys = hashes(pa.array(texts, pa.string()))
    assert len({*zip(texts, keys.tolist(), strict=True)}) == len({*texts}) == len({*keys.tolist()})


def test_a_million_similar_names_have_different_keys_spread_over_the_partitions() -> None:
    keys = hashes(pa.array([f"Na{n:06d}" for n in range(10**6)]))
    assert distinct(keys) == 10**6
    share = np.bincount((keys >> np.uint64(58)).astype(int), minlength=PARTITIONS) / 10**6
    assert abs(share * PARTITIONS - 1).max() < 0.05


def test_a_key_is_the_same_on_every_run_and_whatever_stands_beside_the_text() -> None:
    keys = hashes(pa.array(["Rossi", "", "Иванов", "Rossi"]))
    assert keys.tolist() == hashes(pa.array(["x", "Rossi", "", "Иванов", "Rossi"])[1:]).tolist()
    assert keys[0] == keys[3] == 2708179438505759927


@given(st.lists(st.integers(0, 20)), st.lists(st.integers(0, 20)))
def test_counting_by_sorting_is_what_sets_say(some: list[int], known: list[int]) -> None:
    keys, many = np.array(some, dtype=np.uint64), np.array(known, dtype=np.uint64)
    assert distinct(keys) == len({*some})
    assert among(keys, many).tolist() == [key in known for key in some]


def test_partitions_bring_back_every_record_sorted_and_in_the_order_of_coming(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(1)
    records = np.zeros(5000, dtype=KEYS)
    records["key"] = random.integers(2**64, size=100, dtype=np.uint64)[
        random.integers(100, size=5000)
    ]
    records["row"] = np.arange(5000)
    with Spill(tmp_path / "spill", KEYS) as spill:
        for part in np.array_split(records, 7):
            spill.add(part)
        back = np.concatenate([*spill.partitions()])
    assert back.tolist() == sorted(records.tolist())
