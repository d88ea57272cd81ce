"""The weights of a bundle from a stranger: as saved, or refused before memory is taken."""

import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.serving.bundle import load
from stages.serving.torch_bundle import load_model, save
from tests.serving import made
from tests.serving.made import classifier, config, held_out

CONFIG = config(held_out=held_out())
read = partial(load_model, device=torch.device("cpu"))
refusal = partial(made.refusal, read)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, CONFIG, classifier(CONFIG))
    return tmp_path


def test_a_bundle_answers_as_the_model_that_was_saved(folder: Path) -> None:
    model, _ = read(folder)
    codes = torch.tensor([[0, 4, 5, 1]])
    assert torch.equal(model(codes), classifier(CONFIG)(codes))
    assert np.allclose(load(folder).predict_proba(["ab", "Łódź"]).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("hook", "os.system", "model.hook: extra inputs are not permitted"),
        ("cell", "transformer", "model.cell: input should be 'gru', 'lstm' or 'rnn'"),
        ("hidden", 2**62, "model.hidden: input should be less than or equal to 4096"),
    ],
)
def test_a_network_that_is_none_is_refused_by_its_key(
    key: str, value: object, words: str, folder: Path
) -> None:
    replace(CONFIG, model={**CONFIG.model, key: value}).write(folder)
    assert words in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"countries": ("Chad", "Peru"), "held_out": None},
        # 4 GB of embeddings: the sizes are compared before memory is taken.
        {"model": {**CONFIG.model, "wide_frequent": 2**24, "embedding": 64}},
    ],
)
def test_weights_of_another_shape_than_the_config_says_are_refused(
    changes: dict, folder: Path
) -> None:
    replace(CONFIG, **changes).write(folder)
    tracemalloc.start()
    assert "but config.json calls for" in refusal(folder)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "damaged",
    [
        lambda whole: b"\x80\x04\x95pickle",
        lambda whole: whole[:-4],
        lambda whole: struct.pack("<Q", 2**40) + whole[8:],  # a header of a terabyte
    ],
)
def test_weights_that_are_no_safetensors_are_refused(
    damaged: Callable[[bytes], bytes], folder: Path
) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(damaged(path.read_bytes()))
    assert refusal(folder).startswith("model/model.safetensors: damaged: ")


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("logits.bias", None, "logits.bias is missing, but config.json calls for [3] torch.float"),
        ("hook", torch.zeros(1), "hook is [1] torch.float32, but config.json calls for no such te"),
        ("logits.bias", torch.zeros(3, dtype=torch.float64), "logits.bias is [3] torch.float64"),
    ],
)
def test_a_tensor_too_few_or_too_many_is_named(
    name: str, tensor: torch.Tensor | None, words: str, folder: Path
) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path) | {name: tensor}
    save_file({key: value for key, value in tensors.items() if value is not None}, path)
    assert words in refusal(folder)


@pytest.mark.parametrize("country", [-1, 4])
def test_weights_of_countries_that_are_none_are_refused(country: int, folder: Path) -> None:
    model = classifier(CONFIG)
    model.wide.rare_countries[0, 1] = country
    save(folder, CONFIG, model)
    assert "wide.rare_countries are not the countries" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_answers_that_are_no_numbers_are_refused(value: float, folder: Path) -> None:
    model = classifier(CONFIG)
    model.wide.frequent.weight.data[:] = value
    save(folder, CONFIG, model)
    said = made.refusal(lambda folder: load(folder).predict(["ab"]), folder)
    assert said.startswith("model/model.safetensors: its answers are no numbers")
