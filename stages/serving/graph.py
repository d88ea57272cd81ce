"""The classifier as an ONNX graph, written node by node from its weights.

For speed, a GRU of one layer that reads forward (as shipped) reads the first characters that
neighbouring names share once, see `_last_states`. Other classifiers use ONNX's recurrent operators.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from stages.core.params import ModelParams
from stages.serving.nodes import INPUT, STATE, STEP, Graph
from stages.serving.wide_graph import wide_logits

Weights = Mapping[str, NDArray[Any]]

# Where torch keeps the gates that ONNX wants in its own order (GRU: z, r, h; LSTM: i, o, f, c).
_GATES = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2), "rnn": (0,)}


def build(params: ModelParams, weights: Weights, blank: int) -> ModelProto:
    """The classifier as an ONNX model.

    Args:
        params: the shape of the network.
        weights: its state dict as numpy arrays.
        blank: the code of the blank between words.

    Raises:
        onnx.checker.ValidationError: the graph is not valid; this is a bug.
    """
    graph = Graph()
    # ONNX wants (length, batch, features).
    characters = graph.node("Transpose", graph.positions(INPUT, 1, -1), perm=[1, 0])
    if params.cell == "gru" and params.layers == 1 and not params.bidirectional:
        features = _last_states(graph, params, weights, characters)
    else:
        features = _features(graph, params, weights, characters)
    layer_weights = [graph.constant(weights[f"logits.{part}"]) for part in ("weight", "bias")]
    logits = graph.node("Gemm", features, *layer_weights, transB=1)
    if params.wide_ngrams:
        logits = graph.node("Add", logits, wide_logits(graph, params, weights, blank))
    return graph.model(logits, len(weights["characters.weight"]), len(weights["logits.bias"]))


def _last_states(graph: Graph, params: ModelParams, weights: Weights, characters: str) -> str:
    """(batch, hidden) states of a GRU of one layer after all characters.

    It steps through a tree of the names' beginnings: a row of the state is a beginning that one or
    more neighbouring names share. Of names in alphabetical order these are few. What the input
    adds to the gates is computed once for each distinct character.

    Args:
        graph: the graph to add it to.
        params: the shape of the network.
        weights: its weights.
        characters: (length, batch) codes.
    """
    # A beginning is a new one from the first character on that differs from the name's before.
    last = graph.constant(-1)
    shifted = graph.node("Pad", characters, graph.constant([0, 1, 0, 0]), last)
    differences = graph.node("Sub", characters, graph.positions(shifted, 0, -1))
    differences = graph.node("CumSum", graph.node("Abs", differences), graph.constant(0))
    is_new = graph.cast(differences, TensorProto.BOOL)
    counts = graph.cast(is_new, TensorProto.INT64)
    counts = graph.node("CumSum", counts, graph.constant(1))
    rows = graph.node("Sub", counts, graph.constant(1))
    rows = graph.node("Pad", rows, graph.constant([1, 0, 0, 0]))  # before the first, all share one

    numbers = graph.node("Unique", characters, outputs=3)
    vectors = graph.gather(weights["characters.weight"], numbers[:-1] + "0")
    numbers = graph.node("Reshape", numbers, graph.node("Shape", characters))
    weight_ih, weight_hh, bias_ih, bias_hh = (
        weights[f"recurrent.{kind}_l0"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    # torch's order is reset gate, update gate, candidate.
    gates, candidate = slice(2 * params.hidden), slice(2 * params.hidden, None)

    def linear(into: Graph, values: str, weight: NDArray[Any], bias: str) -> str:
        return into.node("Gemm", values, graph.constant(weight), bias, transB=1)

    bias = graph.constant(bias_ih[gates] + bias_hh[gates])
    to_gates = linear(graph, vectors, weight_ih[gates], bias)
    to_candidate = linear(graph, vectors, weight_ih[candidate], graph.constant(bias_ih[candidate]))

    body = Graph(graph)
    is_new, *values = (body.node("Gather", each, STEP) for each in (is_new, rows, numbers))
    parents, inputs = (body.node("Compress", value, is_new, axis=0) for value in values)
    state = body.node("Gather", STATE, parents)
    sums = linear(body, state, weight_hh[gates], body.node("Gather", to_gates, inputs))
    update = body.node("Split", body.node("Sigmoid", sums), axis=1, num_outputs=2, outputs=2)
    reset = update[:-1] + "0"
    memory = linear(body, state, weight_hh[candidate], graph.constant(bias_hh[candidate]))
    memory = body.node("Mul", reset, memory)
    proposed = body.node("Add", body.node("Gather", to_candidate, inputs), memory)
    proposed = body.node("Tanh", proposed)
    change = body.node("Mul", update, body.node("Sub", state, proposed))
    next_state = body.node("Add", proposed, change)

    start = graph.constant(np.zeros((1, params.hidden), dtype=np.float32))
    steps = graph.node("Squeeze", graph.node("Shape", characters, start=0, end=1))
    states = graph.loop(steps, start, body, next_state)
    return graph.node("Gather", states, graph.node("Gather", rows, last))


def _features(graph: Graph, params: ModelParams, weights: Weights, characters: str) -> str:
    """(batch, directions times hidden) last states of any recurrent layers.

    See `_last_states` for the arguments.
    """
    sequence = graph.gather(weights["characters.weight"], characters)
    for layer in range(params.layers):
        states, last = _recurrent(graph, params, weights, layer, sequence)
        if layer + 1 < params.layers:  # the next one wants (length, batch, features)
            together = graph.node("Transpose", states, perm=[0, 2, 1, 3])
            sequence = graph.node("Reshape", together, graph.constant([0, 0, -1]))
    last = graph.node("Transpose", last, perm=[1, 0, 2])
    return graph.node("Reshape", last, graph.constant([0, -1]))


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
