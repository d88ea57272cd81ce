"""The exported bundle is checked before it is used, without any help of torch or pydantic."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from stages.core.errors import UserError
from stages.core.params import Params
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.serving import bundle, onnx_bundle
from stages.serving.onnx_check import check_graph
from stages.serving.graph import build

ROOT = Path(__file__).parents[2]
CODES = Vocabulary("keep", ("CJK", "LATIN"), tuple("abcdeü佐藤"))
COUNTRIES = ["Austria", "日本", "Кирилия"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with random weights."""
    vocabulary = CODES
    params = Params.load(ROOT / "params.yaml").model.model_copy(
        update={"embedding": 4, "hidden": 4, "wide_buckets": 16}
    )
    torch.manual_seed(1)
    model = Classifier(params, len(vocabulary), len(COUNTRIES)).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    onnx_bundle.save(
        tmp_path / "onnx",
        {
            "vocabulary": vocabulary.to_config(),
            "countries": COUNTRIES,
            "normalize": "nfc",
            "max_length": 20,
            "temperature": 1.5,
            "population": "made-up names",
            "held_out": None,
        },
        build(params, weights).SerializeToString(),
    )
    return tmp_path / "onnx"


def change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def test_loaded_model_answers_names_of_any_script(folder: Path) -> None:
    model = onnx_bundle.load(folder)
    table = model.probabilities(["Abe", "佐藤", "Иванов", "e"])
    assert table.shape == (4, 3)
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-5)


def test_temperature_flattens_the_probabilities(folder: Path) -> None:
    sharp = onnx_bundle.load(folder).probabilities(["abc"]).max()
    change(folder, temperature=100.0)
    assert onnx_bundle.load(folder).probabilities(["abc"]).max() < sharp


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"format": 1}, "format"),
        ({"countries": []}, "countries"),
        ({"countries": ["A", "A", "B"]}, "countries"),
        ({"countries": ["A", "B"]}, "disagree"),
        ({"vocabulary": {"case": "keep", "scripts": ["LATIN"], "characters": "a"}}, "disagree"),
        ({"vocabulary": {"case": "keep", "scripts": ["LATIN"], "characters": "aa"}}, "vocabulary"),
        ({"vocabulary": {"case": "keep", "scripts": ["CJK"], "characters": "a"}}, "vocabulary"),
        ({"vocabulary": 3}, "vocabulary"),
        ({"normalize": "nfd"}, "normalize"),
        ({"max_length": True}, "max_length"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": 1e-300}, "temperature"),
        ({"countries": ["A", "B", "=1+1"]}, "countries"),
        ({"countries": ["A", "B", "\x1b[31mC"]}, "countries"),
        ({"countries": ["A", "B", "C" * 1001]}, "countries"),
        ({"population": "two\nlines"}, "population"),
        ({"population": "a\u202eb"}, "population"),
        ({"population": 3}, "population"),
        ({"held_out": {"prior": 3}}, "held_out"),
        ({"held_out": {"prior": "AAAA"}}, "held_out"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_impossible_config_is_refused_in_one_line(
    folder: Path, values: dict[str, object], says: str
) -> None:
    change(folder, **values)
    with pytest.raises(UserError, match=says) as caught:
        onnx_bundle.load(folder)
    assert "\n" not in str(caught.value)


def test_damaged_or_missing_files_are_reported_in_one_line(folder: Path) -> None:
    model, config = folder / "model.onnx", folder / "config.json"
    whole = model.read_bytes()
    for content in (b"", b"no model", whole[:100], whole[: len(whole) // 2]):
        model.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.onnx") as caught:
            onnx_bundle.load(folder)
        assert "\n" not in str(caught.value)
    model.unlink()
    with pytest.raises(UserError, match="no such file"):
        onnx_bundle.load(folder)
    config.write_bytes(b"\xff{")
    with pytest.raises(UserError, match=r"config\.json"):
        onnx_bundle.load(folder)
    config.unlink()
    with pytest.raises(UserError, match="dvc repro export"):
        onnx_bundle.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.onnx"])
def test_fifos_and_links_to_devices_are_not_read(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match="is not a regular file"):
        onnx_bundle.load(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is not a regular file"):
        onnx_bundle.load(folder)


def test_a_model_larger_than_any_is_not_read(folder: Path) -> None:
    with (folder / "model.onnx").open("r+b") as file:
        file.truncate(100 * 2**30)
    with pytest.raises(UserError, match="larger than"):
        onnx_bundle.load(folder)


def change_graph(folder: Path, *nodes: onnx.NodeProto, **constants: np.ndarray) -> None:
    """Add nodes, which may read what was the output as ``plain`` and have to make ``logits``."""
    path = folder / "model.onnx"
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "plain"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        (
            [
                helper.make_node("ConstantOfShape", ["shape"], ["big"]),
                helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
                helper.make_node("Add", ["plain", "sum"], ["logits"]),
            ],
            {"shape": np.array([10**6, 10**6])},
        ),
        (
            [
                helper.make_node("MatMul", ["column", "row"], ["big"]),
                helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
                helper.make_node("Add", ["plain", "sum"], ["logits"]),
            ],
            {"column": np.ones((40_000, 1), "f"), "row": np.ones((1, 40_000), "f")},  # 6.4 GB
        ),
        ([helper.make_node("Concat", ["plain", "plain"], ["logits"], axis=0)], {}),
    ],
)
def test_a_graph_that_is_none_of_ours_is_refused(
    folder: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> None:
    change_graph(folder, *nodes, **constants)
    with pytest.raises(UserError, match="not those that onoma writes"):
        onnx_bundle.load(folder)


def test_a_constant_that_would_make_the_runtime_abort_is_refused(folder: Path) -> None:
    path = folder / "model.onnx"
    model = onnx.load(path)
    far = numpy_helper.from_array(np.array([10**9]), "constant_0")  # names without characters
    model.graph.initializer[0].CopyFrom(far)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="constant_0 is none that onoma writes"):
        onnx_bundle.load(folder)


@pytest.mark.parametrize("text", [b"codes\x12\x02", b"batch"])
def test_a_graph_whose_texts_are_not_utf_8_is_refused_in_one_line(
    folder: Path, text: bytes
) -> None:
    """The number of codes in the metadata, and the name of the output's first axis."""
    path = folder / "model.onnx"
    before, after = path.read_bytes().rsplit(text, 1)
    damaged = b"\x80" + text[1:] + after if text == b"batch" else text + b"\x80" + after[1:]
    path.write_bytes(before + damaged)
    with pytest.raises(UserError, match=r"model\.onnx: not a valid ONNX model: ") as caught:
        onnx_bundle.load(folder)
    assert "\n" not in str(caught.value)


def test_weights_whose_products_fill_the_memory_are_refused_in_one_line(folder: Path) -> None:
    params = Params.load(ROOT / "params.yaml").model.model_copy(
        update={"embedding": 2_000_000, "hidden": 1, "wide_ngrams": 0}
    )
    model = Classifier(params, len(CODES), len(COUNTRIES))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    (folder / "model.onnx").write_bytes(build(params, weights).SerializeToString())
    change(folder, max_length=1000)
    with pytest.raises(UserError, match=r"model\.onnx: cannot be run: ") as caught:
        onnx_bundle.load(folder).predict(["abc" * 333])  # 8 GB
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_tensors_in_other_files_and_functions_are_refused(folder: Path) -> None:
    path = folder / "model.onnx"
    whole = onnx.load(path)
    tensor = whole.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="config.json")
    path.write_bytes(whole.SerializeToString())
    with pytest.raises(UserError, match="none that onoma writes"):
        onnx_bundle.load(folder)
    whole = onnx.ModelProto()
    whole.functions.add(name="f")
    path.write_bytes(whole.SerializeToString())
    with pytest.raises(UserError, match="none that onoma writes"):
        onnx_bundle.load(folder)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("plain", [False, True])
def test_every_graph_of_ours_passes_the_check(cell: str, plain: bool) -> None:
    params = Params.load(ROOT / "params.yaml").model.model_copy(
        update={"embedding": 4, "hidden": 4, "wide_buckets": 16, "cell": cell, "layers": 2}
        | ({"bidirectional": False, "wide_ngrams": 0} if plain else {})
    )
    model = Classifier(params, 9, 3)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    check_graph(build(params, weights).SerializeToString())


def test_either_kind_of_bundle_is_loaded_by_one_function(folder: Path, tmp_path: Path) -> None:
    found = bundle.load(folder).predict(["Abe"])
    assert found == onnx_bundle.load(folder).predict(["Abe"])
    with pytest.raises(UserError, match="dvc repro export"):
        bundle.load(tmp_path)


def test_an_exported_model_is_loaded_without_any_slow_package(folder: Path) -> None:
    code = (
        "import sys; from stages.serving.bundle import load; "
        f"print(load({str(folder)!r}).predict(['Abe'])[0].name, "
        "*sorted({'torch', 'pydantic', 'pandas', 'sklearn', 'dvc', 'pyarrow', 'onnx', 'rich'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("Abe", "")
