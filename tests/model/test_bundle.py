"""A bundle from a stranger: answered as saved, or refused in one line before memory is taken."""

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from stages.core.errors import UserError
from stages.core.params import ModelParams
from stages.model import bundle
from stages.model.classifier import Classifier
from stages.serving.bundle import load
from tests.conftest import ROOT

SMALL = {"embedding": 4, "hidden": 4, "wide_buckets": 8}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small bundle."""
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))["model"]
    model = ModelParams(**(params | SMALL))
    config = bundle.Config(
        model=model,
        vocabulary=bundle.VocabularyConfig(case="keep", scripts=["LATIN"], characters="abc"),
        countries=["Chad", "Peru"],
        normalize="nfc",
        max_length=20,
        temperature=1.5,
        provenance={"torch": torch.__version__, "threads": 1},
    )
    torch.manual_seed(1)
    bundle.save(tmp_path / "model", config, Classifier(model, 7, 2))
    return tmp_path / "model"


def change(folder: Path, *path: str, value: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        bundle.load_model(folder, torch.device("cpu"))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "model")


def test_a_bundle_answers_as_the_model_that_was_saved(folder: Path) -> None:
    model, config = bundle.load_model(folder, torch.device("cpu"))
    torch.manual_seed(1)
    saved = Classifier(config.model, 7, 2).eval()
    codes = torch.tensor([[0, 4, 5, 1]])
    assert torch.equal(model(codes), saved(codes))
    answer = load(folder).probabilities(["ab", "Łódź"])
    assert np.allclose(answer.sum(axis=1), 1)


def test_it_holds_two_files_and_no_pickle(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    content = (folder / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    model, _ = bundle.load_model(folder, torch.device("cpu"))
    assert json.loads(content[8 : 8 + length]).keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("format",), 2, "format 2, but this onoma reads 1"),
        (("surprise",), 1, "surprise: extra inputs are not permitted"),
        (("model", "hook"), "os.system", "model.hook: extra inputs are not permitted"),
        (("model", "cell"), "transformer", "model.cell: input should be 'gru', 'lstm' or 'rnn'"),
        (("model", "hidden"), 2**62, "model.hidden: input should be less than or equal to 65536"),
        (("model", "layers"), 10**6, "model.layers: input should be less than"),
        (("temperature",), 0, "temperature: input should be greater than 0"),
        (("temperature",), float("nan"), "temperature: input should be a finite number"),
        (("countries",), [], "countries: list should have at least 1 item"),
        (("countries",), ["Chad", "Chad"], "a country, script or character is listed twice"),
        (("countries",), ["Chad", "Peru", "Iran"], "but config.json calls for"),
        (("vocabulary", "characters"), "abcd", "but config.json calls for"),
        (("max_length",), 10**9, "max_length: input should be less than or equal to 1000"),
        (("x\ny" * 1000,), 1, "x yx yx"),
    ],
)
def test_a_config_that_disagrees_is_refused_by_its_key(
    path: tuple[str, ...], value: object, words: str, folder: Path
) -> None:
    change(folder, *path, value=value)
    assert words in refusal(folder)


def test_sizes_are_compared_before_memory_is_taken(folder: Path) -> None:
    change(folder, "model", "wide_buckets", value=2**24)  # 4 GB of embeddings
    change(folder, "model", "embedding", value=64)
    tracemalloc.start()
    assert "but config.json calls for" in refusal(folder)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04\x95pickle", b"\xff" * 100])
def test_weights_that_are_no_safetensors_are_refused(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert refusal(folder).startswith("model/model.safetensors: damaged: ")


def test_weights_cut_short_or_called_larger_than_they_are_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    assert "damaged" in refusal(folder)
    path.write_bytes(struct.pack("<Q", 2**40) + content[8:])  # a header of a terabyte
    assert "damaged" in refusal(folder)


def test_a_config_of_a_hundred_megabytes_is_not_read(folder: Path) -> None:
    with (folder / "config.json").open("wb") as file:
        file.truncate(100 * 2**20)
    assert "larger than 67108864 bytes" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"[1]", b"null", b"[" * 10**5, b"\xff\xfe", b"{}"])
def test_a_config_that_is_none_is_refused(content: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(content)
    assert refusal(folder).startswith("model/config.json: ")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    assert refusal(folder).startswith(f"model/{name}: ")
