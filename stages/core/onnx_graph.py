"""The classifier as an ONNX graph, written node by node from its weights.

A trace of the torch model would unroll the loop over a name's characters and so fix the length;
ONNX's own recurrent operators leave batch and length open, and the bytes of a graph written here
depend on the weights alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stages.core.params import ModelParams

OPSET = 28
IR_VERSION = 14
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
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; return the name of its last output."""
        number = len(self._nodes)
        names = [f"{operator.lower()}_{number}_{n}" for n in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[-1]

    def model(self, output: str, codes: int, countries: int) -> Any:
        """The finished model: `INPUT` (batch, length) int64 -> `OUTPUT` (batch, countries)."""
        self._nodes.append(helper.make_node("Identity", [output], [OUTPUT]))
        graph = helper.make_graph(
            self._nodes,
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
        onnx.checker.check_model(model, full_check=True)
        return model


def build(params: ModelParams, weights: Weights) -> Any:
    """The classifier with these weights (its state dict as numpy arrays) as an ONNX model.

    Raises:
        onnx.checker.ValidationError: the graph is not valid; this is a bug.
    """
    graph = Graph()
    orders = range(2, params.ngrams + 1)
    hashed = [_hash_ngrams(graph, n, params.buckets) for n in orders]

    embedded = graph.node("Gather", graph.constant(weights["embed.weight"]), INPUT)
    for n, rows in enumerate(hashed):
        table = graph.constant(weights[f"ngrams.{n}.weight"])
        embedded = graph.node("Add", embedded, graph.node("Gather", table, rows))

    # ONNX wants (length, batch, features).
    sequence = graph.node("Transpose", embedded, perm=[1, 0, 2])
    last = ""
    for layer in range(params.layers):
        sequence, last = _recurrent(graph, params, weights, layer, sequence)
    features = graph.node(
        "Reshape", graph.node("Transpose", last, perm=[1, 0, 2]), graph.constant([0, -1])
    )
    logits = graph.node(
        "Gemm",
        features,
        graph.constant(weights["output.weight"]),
        graph.constant(weights["output.bias"]),
        transB=1,
    )
    if params.wide:
        for n, rows in enumerate(hashed):
            found = graph.node("Gather", graph.constant(weights[f"wide.{n}.weight"]), rows)
            total = graph.node("ReduceSum", found, graph.constant([1]), keepdims=0)
            logits = graph.node("Add", logits, total)
    return graph.model(logits, len(weights["embed.weight"]), len(weights["output.bias"]))


def _hash_ngrams(graph: Graph, n: int, buckets: int) -> str:
    """`classifier.hash_ngrams` of the codes.

    Only the low 31 bits count, so its factors are reduced to them: no product overflows.
    """
    hashed = INPUT
    for back in range(1, n):
        padded = graph.node("Pad", INPUT, graph.constant([0, back, 0, 0]))
        ends = [graph.constant(value) for value in ([0], [-back], [1])]
        shifted = graph.node("Slice", padded, *ends)
        product = graph.node("Mul", shifted, graph.constant(pow(1_000_003, back, 2**31)))
        total = graph.node("Add", hashed, product)
        hashed = graph.node("BitwiseAnd", total, graph.constant(0x7FFFFFFF))
    product = graph.node("Mul", hashed, graph.constant(2_654_435_761))
    # ONNX shifts unsigned integers only; the product is not negative.
    shifted = graph.node("Div", product, graph.constant(2**7))
    return graph.node("Mod", shifted, graph.constant(buckets))


def _recurrent(
    graph: Graph, params: ModelParams, weights: Weights, layer: int, sequence: str
) -> tuple[str, str]:
    """One layer: (length, batch, in) -> (length, batch, directions * hidden), and last states."""
    suffixes = ["", "_reverse"] if params.bidirectional else [""]
    order = _GATES[params.cell]

    def stacked(*kinds: str) -> str:
        """Weights of all directions, gates in ONNX's order."""
        parts = []
        for suffix in suffixes:
            found = [weights[f"recurrent.{kind}_l{layer}{suffix}"] for kind in kinds]
            gates = [np.split(array, len(order))[gate] for array in found for gate in order]
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
    states = last[:-1] + "0"  # (length, directions, batch, hidden)
    together = graph.node("Transpose", states, perm=[0, 2, 1, 3])
    return graph.node("Reshape", together, graph.constant([0, 0, -1])), last
