"""How inputs are made, and what may happen to them: they are accepted or refused in one line.

Any other exception fails the target. Inputs are raw bytes, and valid files with a few mutations.
"""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.core.errors import UserError
from tests.conftest import ROOT

PARAMS = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
LONGEST_MESSAGE = 500
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # saves the disk millions of writes
SCRATCH = Path(tempfile.mkdtemp(prefix="onoma-fuzz-", dir=MEMORY))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)


@dataclass(frozen=True)
class Target:
    """A valid input, mostly a file, inputs, and what is done with one: "accepted" or "refused"."""

    valid: Any
    inputs: st.SearchStrategy[Any]
    run: Callable[[Any], str]


def outcome(work: Callable[[], object]) -> str:
    """Do ``work``; a refusal has to be one short line."""
    try:
        work()
    except UserError as error:
        text = str(error).replace(str(SCRATCH), "")
        assert len(text.splitlines()) == 1, text
        assert len(text) <= LONGEST_MESSAGE, text
        return "refused"
    return "accepted"


@st.composite
def mutated(draw: st.DrawFn, files: list[bytes], tokens: list[bytes]) -> bytes:
    """A valid file in which a few pieces are cut, doubled, overwritten or put in."""
    data = draw(st.sampled_from(files))
    piece = st.sampled_from(tokens) | st.binary(max_size=4)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 12)) | st.sampled_from([at, len(data)]))
        again = st.integers(2, 50).map((data[at:to][:12]).__mul__)
        data = data[:at] + draw(piece | again) + data[to:]
    return data


ODD = [None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, float("nan"), float("inf")]
ODD += ["", "a", "\0", "é\n", "\ud800", "x" * 3000, "gru", [], [[]], ["a", "a"], {}, {"a": {}}]
values = st.sampled_from(ODD).map(deepcopy) | st.integers() | st.floats() | st.text(max_size=8)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every value inside ``value``."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            found += places(inner, (*path, key))
    return found


@st.composite
def altered(draw: st.DrawFn, valid: dict) -> dict:
    """JSON values in which some are replaced, gone, or new."""
    result = json.loads(json.dumps(valid))
    for path in draw(st.lists(st.sampled_from(places(valid)), min_size=1, max_size=2)):
        inner = result
        try:
            for key in path[:-1]:
                inner = inner[key]
            match draw(st.sampled_from(["other", "other", "other", "gone", "new"])):
                case "gone":
                    del inner[path[-1]]
                case what:
                    key = path[-1] if what == "other" else draw(st.text(max_size=8))
                    inner[key] = draw(values)
        except (KeyError, IndexError, TypeError):
            pass  # an earlier alteration took that place away
    return result
