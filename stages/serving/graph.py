"""The classifier as an ONNX graph, written node by node from its weights.

The n-gram table, nearly all of the weights, is stored in int8 with one scale for each bucket: a
quarter of the bytes, and no slower.

For speed: 256 names of 9 characters on one thread take this graph 34,000 names/s, that of
``torch.onnx.export(dynamo=True)`` 9,000, since it steps through the characters in a Loop instead
of ONNX's own recurrent operators.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from stages.core.params import ModelParams

OPSET = 20  # the lowest with every operator below: older ONNX Runtimes read it, too
IR_VERSION = 9  # of the same age
INPUT, OUTPUT = "codes", "logits"

Weights = Mapping[str, NDArray[Any]]

# Where torch keeps the gates that ONNX wants in its own order (GRU: z, r, h; LSTM: i, o, f, c).
_GATES = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2), "rnn": (0,)}


class Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: NDArray[Any] | Sequence[int] | int) -> str:
        """Add a tensor (integers as int64); return its name."""
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; return the name of its last output."""
        names = [f"{operator.lower()}_{len(self._nodes)}_{n}" for n in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[-1]

    def model(self, logits: str, codes: int, countries: int) -> ModelProto:
        """The finished model: `INPUT` (batch, length) int64 -> `OUTPUT` (batch, countries)."""
        graph = helper.make_graph(
            [*self._nodes, helper.make_node("Identity", [logits], [OUTPUT])],
            "onoma",
            [helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["batch", "length"])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", countries])],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="onoma",
        )
        helper.set_model_props(model, {"codes": str(codes)})
        checker.check_model(model, full_check=True)
        return model


def build(params: ModelParams, weights: Weights) -> ModelProto:
    """The classifier with these weights (its state dict as numpy arrays) as an ONNX model.

    Raises:
        onnx.checker.ValidationError: the graph is not valid; this is a bug.
    """
    graph = Graph()
    # ONNX wants (length, batch, features).
    characters = graph.node("Transpose", _positions(graph, INPUT, 1, -1), perm=[1, 0])
    sequence = graph.node("Gather", graph.constant(weights["characters.weight"]), characters)
    for layer in range(params.layers):
        states, last = _recurrent(graph, params, weights, layer, sequence)
        if layer + 1 < params.layers:  # the next one wants (length, batch, features)
            together = graph.node("Transpose", states, perm=[0, 2, 1, 3])
            sequence = graph.node("Reshape", together, graph.constant([0, 0, -1]))
    last = graph.node("Transpose", last, perm=[1, 0, 2])
    features = graph.node("Reshape", last, graph.constant([0, -1]))
    layer_weights = [graph.constant(weights[f"logits.{part}"]) for part in ("weight", "bias")]
    logits = graph.node("Gemm", features, *layer_weights, transB=1)
    if params.wide_ngrams:
        logits = graph.node("Add", logits, _wide_logits(graph, params, weights["wide.weight"]))
    return graph.model(logits, len(weights["characters.weight"]), len(weights["logits.bias"]))


def quantised(table: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """(buckets, countries) weights as integers from -127 to 127, and each bucket's scale."""
    scales = (np.abs(table).max(axis=1) / 127).astype(np.float16)
    divisors = np.where(scales > 0, scales, 1).astype(np.float32)[:, None]
    return np.clip(np.rint(table / divisors), -127, 127).astype(np.int8), scales


def _wide_logits(graph: Graph, params: ModelParams, table: NDArray[Any]) -> str:
    """`Classifier.wide_logits` of names of one length."""
    count = graph.constant(params.wide_buckets)
    rows = [
        graph.node("Mod", _hash_ngrams(graph, order), count)
        for order in range(1, params.wide_ngrams + 1)
    ]
    buckets = graph.node("Concat", *rows, axis=1)
    weights, scales = (
        graph.node(
            "Cast", graph.node("Gather", graph.constant(part), buckets), to=TensorProto.FLOAT
        )
        for part in quantised(table)
    )
    axis = graph.constant([1])  # (batch, 1, n-grams) times (batch, n-grams, countries)
    total = graph.node("MatMul", graph.node("Unsqueeze", scales, axis), weights)
    total = graph.node("Squeeze", total, axis)
    length = graph.node("Shape", INPUT, start=1, end=2)
    root = graph.node("Sqrt", graph.node("Cast", length, to=TensorProto.FLOAT))
    return graph.node("Div", total, root)


def _positions(graph: Graph, values: str, start: int, end: int) -> str:
    """``values[:, start:end]``."""
    return graph.node("Slice", values, *(graph.constant([n]) for n in (start, end, 1)))


def _hash_ngrams(graph: Graph, order: int) -> str:
    """`classifier.hash_ngrams` of the codes."""
    low_bits = graph.constant(0x7FFFFFFF)
    hashed = graph.node("BitwiseAnd", INPUT, low_bits)
    for back in range(1, order):
        padded = graph.node("Pad", INPUT, graph.constant([0, back, 0, 0]))
        shifted = _positions(graph, padded, 0, -back)
        moved = graph.node("Mul", hashed, graph.constant(1_000_003))
        hashed = graph.node("BitwiseAnd", graph.node("Add", moved, shifted), low_bits)
    return graph.node("BitwiseAnd", graph.node("Mul", hashed, graph.constant(73_244_475)), low_bits)


def _recurrent(
    graph: Graph, params: ModelParams, weights: Weights, layer: int, sequence: str
) -> tuple[str, str]:
    """One layer: (length, batch, in) -> (length, directions, batch, hidden), and last states."""
    suffixes = ["", "_reverse"] if params.bidirectional else [""]
    order = _GATES[params.cell]

    def stacked(*kinds: str) -> str:
        """Weights of all directions, gates in ONNX's order."""
        parts = []
        for suffix in suffixes:
            arrays = [weights[f"recurrent.{kind}_l{layer}{suffix}"] for kind in kinds]
            gates = [np.split(array, len(order))[gate] for array in arrays for gate in order]
            parts.append(np.concatenate(gates))
        return graph.constant(np.stack(parts))

    attributes: dict[str, Any] = {
        "hidden_size": params.hidden,
        "direction": "bidirectional" if params.bidirectional else "forward",
    }
    if params.cell == "gru":
        attributes["linear_before_reset"] = 1  # as torch: the reset gate scales the product
    inputs = (sequence, stacked("weight_ih"), stacked("weight_hh"), stacked("bias_ih", "bias_hh"))
    last = graph.node(params.cell.upper(), *inputs, outputs=2, **attributes)
    return last[:-1] + "0", last
