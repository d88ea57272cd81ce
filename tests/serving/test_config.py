"""config.json and the held-out rows of a bundle from any source: read, or refused."""

import json
import os
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from stages.core.errors import UserError
from stages.serving import onnx_bundle
from stages.serving.config import Config
from stages.serving.held_out import MOST_CELLS, MOST_ROWS, TYPES
from stages.serving.torch_bundle import load_model
from tests.serving import made
from tests.serving.made import config, held_out

LETTERS = {"case": "keep", "scripts": ["LATIN"], "characters": "abc"}
OTHERS = [{"scripts": ["LATIN\x1b"]}, {"scripts": ["GREEK"]}, {"characters": "aab"}, {"case": "up"}]
TWICE = {"N": ["日本", "Austria"], "S": ["日本", "Кирилия"]}
ODD = ["\x1b]0;title\x07", "two\nlines", "a\u202eb", "a\u2028b", "x" * 1001, "\ud800"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config(held_out=held_out()).write(tmp_path)
    return tmp_path


refusal = partial(made.refusal, Config.read)


def test_a_config_comes_back_as_it_was_written(folder: Path) -> None:
    saved, read = config(held_out=held_out()), Config.read(folder)
    assert replace(read, held_out=None) == replace(saved, held_out=None)
    for name in ("prior", "thresholds", "labels", "kinds", "scripts", "measures", "ngrams"):
        np.testing.assert_array_equal(getattr(read.held_out, name), getattr(saved.held_out, name))
    np.testing.assert_allclose(read.held_out.probabilities, saved.held_out.probabilities, rtol=0.07)
    assert read.held_out.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-12)


def test_a_model_without_held_out_rows_keeps_none_of_an_earlier_one(folder: Path) -> None:
    config().write(folder)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert Config.read(folder).held_out is None


NOT_ALLOWED = [  # key, values, a part of the refusal
    ("format", [4], "format 4, but this onoma reads 6; run dvc repro"),
    ("surprise", [1], "surprise is unknown"),
    ("x\ny" * 1000, [1], "x yx yx"),
    ("model", [3, {"x\x1b": 3}], "model must be"),
    ("temperatures", [[0.0], [1e300], [float("nan")], [1], [1.0, 1.0], 1.0], "must be one number"),
    ("names", ["both"], "temperatures must be one number from 0.01 to 100.0, or two"),
    ("names", ["given"], "names must be surnames, full or both"),
    ("groups", [{"N": ["Austria"]}, {"=1": ["Austria", "日本"]}, TWICE], "groups must be lists of"),
    ("groups", [{"N": ["Austria", "Chad"]}], "groups must have no countries that the model"),
    (
        "countries",
        [[], *(["Chad", odd] for odd in ["Chad", "", "@SUM(A1)", *ODD])],
        "1 to 65535 di",
    ),
    ("population", [*ODD, 3], "population must be printable text"),
    ("provenance", [{"torch": odd} for odd in ODD], "provenance must be short printable"),
    ("vocabulary", [3, *(LETTERS | other for other in OTHERS)], "characters of these scripts"),
    ("normalize", ["nfd"], "normalize must be nfc or ascii"),
    ("max_length", [10**9, True], "max_length must be from 1 to 1000"),
    ("training_names", [[1, -2, 3]], "training_names must be whole numbers"),
    ("training_names", [[1]], "training_names must be one number for each country"),
    ("held_out", [{"prior": 3}], "held_out must be true"),
]


@pytest.mark.parametrize(("key", "values", "words"), NOT_ALLOWED)
def test_a_value_that_is_not_allowed_is_refused_by_its_key(
    key: str, values: list[object], words: str, folder: Path
) -> None:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for value in values:
        (folder / "config.json").write_text(json.dumps(content | {key: value}), encoding="utf-8")
        assert words in refusal(folder)


def test_a_value_that_is_not_allowed_is_not_written_either(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="temperatures must be"):
        config(temperatures=[0.0]).write(tmp_path)


FILES = {  # what reads it, and what is said if it is missing
    "config.json": (Config.read, "No such file or directory; train a model first (dvc repro)"),
    "held_out.safetensors": (Config.read, "No such file or directory; train a model first"),
    "model.safetensors": (partial(load_model, device=torch.device("cpu")), "No such file or dir"),
    "model.onnx": (onnx_bundle.load, "no such file or directory; export a model first (dvc repro "),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, ""),
        (os.mkfifo, "is not a regular file"),
        (Path.mkdir, "is not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
        (lambda path: path.touch() or os.truncate(path, 2**33 + 1), "larger than"),
    ],
    ids=["missing", "fifo", "folder", "device", "large"],
)
def test_what_is_no_file_of_the_right_size_is_not_read(
    name: str, make: Callable[[Path], object], says: str, folder: Path
) -> None:
    read, missing = FILES[name]
    path = folder / name
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path}: {says or missing}')}"):
        read(folder)


def test_a_group_has_at_least_two_countries_of_the_model() -> None:
    groups = {"North": ["Norway", "Sweden", "Chad"], "South": ["Chad", "Mali"], "None": []}
    assert Config.groups_of(["Norway", "Sweden", "Mali"], groups) == {"North": ["Norway", "Sweden"]}


# The arrays of held-out rows.


def write_arrays(folder: Path, **changes: list[float]) -> None:
    """Write those of `held_out`, some changed."""
    lists = {name: np.array(values, TYPES[name]) for name, values in changes.items()}
    save_file(held_out().to_arrays() | lists, folder / "held_out.safetensors")


def test_a_byte_of_a_probability_is_the_negative_log_in_sixteenths(folder: Path) -> None:
    one = {"labels": [0], "kinds": [0], "scripts": [0], "measures": [0, 0]}
    write_arrays(folder, **one, probabilities=[0, 16, 32])
    (row,) = Config.read(folder).held_out.probabilities
    assert row == pytest.approx(np.exp([0, -1, -2]) / np.exp([0, -1, -2]).sum())


@pytest.mark.parametrize(("rows", "countries"), [(MOST_ROWS + 1, 2), (2000, 600), (7, 2)])
def test_a_bounded_part_of_the_held_out_rows_is_kept_evenly_spaced(
    rows: int, countries: int
) -> None:
    whole = held_out(rows, countries)
    kept = whole.to_arrays()
    number, most = len(kept["labels"]), min(rows, MOST_ROWS, MOST_CELLS // countries)
    assert most / 2 <= number <= most
    for name in ("measures", "labels"):
        np.testing.assert_array_equal(kept[name], getattr(whole, name)[:: round(rows / number)])


UNFIT = {
    "prior": [[0.5, 0.5], [-0.1, 0.5, 0.6], [np.nan, 0.5, 0.5], [np.inf, 0, 0], [0, 0, 0]],
    "thresholds": [[0.1], [-0.1, 0.1, 0.1], [2, 0.1, 0.1], [np.nan, 0.1, 0.1]],
    "labels": [[0, 1, 2, 3, 0], [], [0] * 5000],
    "kinds": [[0, 0, 0, 0, 1], [0] * 4],
    "scripts": [[0] * 4, []],
    "measures": [[0] * 9, [np.nan] * 10],
    "probabilities": [[0] * 14, []],
    "ngrams": [[0] * 2**16],
}


@pytest.mark.parametrize("part", UNFIT)
def test_arrays_that_do_not_fit_together_are_refused(part: str, folder: Path) -> None:
    for values in UNFIT[part]:
        write_arrays(folder, **{part: values})
        assert refusal(folder).startswith("model/held_out.safetensors: ")


@pytest.mark.parametrize("entry", [3, {}, {"data_offsets": 3}, {"data_offsets": ["a", None]}])
def test_a_header_that_lies_is_refused(entry: object, folder: Path) -> None:
    text = json.dumps({"prior": entry}).encode()
    path = folder / "held_out.safetensors"
    for size in (len(text), 2**63):  # exabytes
        path.write_bytes(struct.pack("<Q", size) + text)
        assert refusal(folder) == "model/held_out.safetensors: has no array prior"
    save_file(held_out().to_arrays() | {"labels": np.zeros(5, np.float16)}, path)
    assert refusal(folder) == "model/held_out.safetensors: labels is not U16"


def test_a_country_may_have_no_share_of_the_training_names_and_no_threshold(folder: Path) -> None:
    none = [0, 0.5, 0.5]
    write_arrays(folder, prior=none, thresholds=none)
    rows = Config.read(folder).held_out
    assert (rows.prior[0, 0], rows.thresholds[0, 0]) == (0, 0)
