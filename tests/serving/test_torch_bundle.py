"""A bundle from a stranger: answered as saved, or refused in one line before memory is taken."""

import base64
import json
import os
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from stages.core.errors import UserError
from stages.core.params import ModelParams
from stages.serving import torch_bundle as bundle
from stages.model.classifier import Classifier
from stages.serving.held_out import TYPES, HeldOut
from stages.serving.bundle import load
from tests.conftest import ROOT, run

ODD = ["\x1b]0;title\x07", "two\nlines", "a\u202eb", "a\u2028b", "x" * 1001, "\ud800"]
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


@pytest.mark.slow
def test_reading_it_does_not_import_torchs_compiler(folder: Path) -> None:
    """That takes longer than all the rest."""
    program = (
        "import sys, torch; from pathlib import Path; from stages.serving.torch_bundle import load_model\n"
        f"load_model(Path({str(folder)!r}), torch.device('cpu'))\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    done = run(ROOT, sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr


def test_it_holds_two_files_and_no_pickle(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    content = (folder / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    model, _ = bundle.load_model(folder, torch.device("cpu"))
    assert json.loads(content[8 : 8 + length]).keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("format",), 1, "format 1, but this onoma reads 2"),
        (("surprise",), 1, "surprise: extra inputs are not permitted"),
        (("model",), 3, "model: input should be a valid dictionary or instance of ModelParams"),
        (("model", "hook"), "os.system", "model.hook: extra inputs are not permitted"),
        (("model", "cell"), "transformer", "model.cell: input should be 'gru', 'lstm' or 'rnn'"),
        (("model", "hidden"), 2**62, "model.hidden: input should be less than or equal to 65536"),
        (("model", "layers"), 10**6, "model.layers: input should be less than"),
        (("temperature",), 0, "temperature must be a number from 0.01 to 100.0"),
        (("temperature",), 1e-300, "temperature must be a number from 0.01 to 100.0"),
        (("temperature",), 1e300, "temperature must be a number from 0.01 to 100.0"),
        (("temperature",), float("nan"), "temperature: input should be a finite number"),
        (("countries",), [], "countries must be 1 to 65535 different"),
        (("countries",), ["Chad", "Chad"], "countries must be 1 to 65535 different"),
        *((("countries",), ["Chad", odd], "countries must be 1 to 65535 different") for odd in ODD),
        (("countries",), ["Chad", ""], "countries must be 1 to 65535 different"),
        (("countries",), ["Chad", "=cmd|' /C calc'!A0"], "begins as a spreadsheet's formula"),
        (("countries",), ["Chad", "@SUM(A1)"], "begins as a spreadsheet's formula"),
        *((("population",), odd, "population must be printable text") for odd in ODD),
        *((("provenance", "torch"), odd, "provenance must be short printable") for odd in ODD),
        (("vocabulary", "scripts"), ["LATIN\x1b"], "vocabulary must be"),
        (("vocabulary", "scripts"), ["GREEK"], "characters of these scripts"),
        (("vocabulary", "characters"), "aab", "vocabulary must be"),
        (("countries",), ["Chad", "Peru", "Iran"], "but config.json calls for"),
        (("vocabulary", "characters"), "abcd", "but config.json calls for"),
        (("max_length",), 10**9, "max_length must be from 1 to 1000"),
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
    remedy = "; train a model first (dvc repro)" if name == "config.json" else ""
    assert refusal(folder) == f"model/{name}: No such file or directory{remedy}"


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to a device"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_what_is_no_regular_file_is_not_read(name: str, kind: str, folder: Path) -> None:
    (folder / name).unlink()
    match kind:
        case "fifo":
            os.mkfifo(folder / name)
        case "folder":
            (folder / name).mkdir()
        case _:
            (folder / name).symlink_to("/dev/zero")
    assert refusal(folder) == f"model/{name}: is not a regular file"


def test_files_may_be_links_to_files_as_in_dvcs_cache(folder: Path, tmp_path: Path) -> None:
    for path in list(folder.iterdir()):
        (folder / path.name).rename(tmp_path / path.name)
        (folder / path.name).symlink_to(tmp_path / path.name)
    assert load(folder).countries == ("Chad", "Peru")


def test_weights_of_more_than_8_gigabytes_are_not_read(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(2**33 + 1)
    assert "larger than 8589934592 bytes" in refusal(folder)


def test_a_tensor_too_few_or_too_many_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    some = {name: value for name, value in tensors.items() if name != "logits.bias"}
    save_file(some, path)
    assert "logits.bias is missing, but config.json calls for ([2], 'F32')" in refusal(folder)
    save_file({**tensors, "hook": torch.zeros(1)}, path)
    assert "hook is ([1], 'F32'), but config.json calls for no such tensor" in refusal(folder)
    save_file({**tensors, "logits.bias": torch.zeros(2, dtype=torch.float64)}, path)
    assert "logits.bias is ([2], 'F64')" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_answers_that_are_no_numbers_are_refused(value: float, folder: Path) -> None:
    model, config = bundle.load_model(folder, torch.device("cpu"))
    model.wide.weight.data[:] = value
    bundle.save(folder, config, model)
    with pytest.raises(UserError, match="its answers are no numbers"):
        load(folder).predict(["ab"])


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("prior", [np.inf, 0]),
        ("prior", [0, 0]),
        ("prior", [np.nan, 1]),
        ("thresholds", [np.inf, 0.1]),
        ("thresholds", [2, 0.1]),
        ("labels", [0] * 5000),
    ],
)
def test_numbers_of_held_out_rows_that_cannot_be_are_refused(
    part: str, values: list[float], folder: Path
) -> None:
    rows = len(values) if part == "labels" else 1
    found = HeldOut(
        prior=np.array([0.5, 0.5]),
        thresholds=np.array([0.1, 0.1]),
        labels=np.zeros(rows),
        probabilities=np.full((rows, 2), 0.5),
        scripts=np.zeros(rows),
        measures=np.zeros((rows, 2)),
        ngrams=np.zeros(2**17),
    ).to_config()
    packed = np.array(values).astype(TYPES[part]).tobytes()
    found[part] = base64.b64encode(packed).decode()
    for name, width in (("probabilities", 2), ("scripts", 2), ("measures", 8)):
        found[name] = base64.b64encode(bytes(width * rows)).decode()
    change(folder, "held_out", value=found)
    assert "held_out" in refusal(folder)
