"""The exported model of a stranger: it runs in bounded memory, or is refused in one line."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from stages.corpus.vocabulary import Vocabulary
from stages.serving import onnx_bundle
from tests.serving import made
from tests.serving.made import config, held_out, save_onnx

CONFIG = config(held_out=held_out())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_onnx(tmp_path / "onnx", CONFIG)


refusal = partial(made.refusal, lambda folder: onnx_bundle.load(folder).predict(["Abe"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"countries": ("A", "B"), "held_out": None},
        {"vocabulary": Vocabulary("keep", ("LATIN",), ("a",))},
    ],
)
def test_a_graph_of_another_shape_than_the_config_says_is_refused(
    changes: dict, folder: Path
) -> None:
    replace(CONFIG, **changes).write(folder)
    assert refusal(folder) == "model: model.onnx and config.json disagree; run dvc repro export"


def test_what_is_no_graph_is_refused(folder: Path) -> None:
    path = folder / "model.onnx"
    whole = path.read_bytes()
    for content in (b"", b"no model", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert refusal(folder).startswith("model/model.onnx: not a valid ONNX model: ")


CONSTANTS = {
    "shape": np.array([10**6, 10**6]),
    "one": np.ones(1, "f"),
    "column": np.ones((40_000, 1), "f"),  # times a row: 6.4 GB
    "row": np.ones((1, 40_000), "f"),
}


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "says"),
    [
        ("ConstantOfShape", ["shape"], {}, "cannot be run"),
        ("Expand", ["one", "shape"], {}, "cannot be run"),
        ("MatMul", ["column", "row"], {}, "cannot be run"),
        ("Concat", ["plain", "plain"], {"axis": 0}, "its output has another shape"),
        ("Run\x1b[31m\u202e", ["plain"], {}, "not a valid ONNX"),
    ],
)
def test_a_graph_that_asks_for_too_much_memory_or_answers_nothing_is_refused(
    folder: Path, operator: str, inputs: list[str], attributes: dict[str, int], says: str
) -> None:
    path = folder / "model.onnx"
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "plain"
    last = [helper.make_node(operator, inputs, ["logits"], **attributes)]
    if "plain" not in inputs:  # then its sum counts
        last[0].output[0] = "big"
        last.append(helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0))
        last.append(helper.make_node("Add", ["plain", "sum"], ["logits"]))
    model.graph.node.extend(last)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in CONSTANTS.items())
    path.write_bytes(model.SerializeToString())
    assert says in refusal(folder)


def test_a_graph_that_reads_other_files_is_refused(folder: Path) -> None:
    path = folder / "model.onnx"
    whole = onnx.load(path)
    tensor = whole.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="config.json")
    path.write_bytes(whole.SerializeToString())
    assert "reads other files" in refusal(folder)


@pytest.mark.parametrize("text", [b"codes\x12\x02", b"batch"])
def test_a_graph_whose_texts_are_not_utf_8_is_refused(folder: Path, text: bytes) -> None:
    """The number of codes in the metadata, and the name of the output's first axis."""
    path = folder / "model.onnx"
    before, after = path.read_bytes().rsplit(text, 1)
    damaged = b"\x80" + text[1:] + after if text == b"batch" else text + b"\x80" + after[1:]
    path.write_bytes(before + damaged)
    assert refusal(folder).startswith("model/model.onnx: not a valid ONNX model: ")
