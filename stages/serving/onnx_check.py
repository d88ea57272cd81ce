"""Whether an ONNX model is one that `stages.serving.graph` writes.

ONNX graphs can loop, read other files and ask for terabytes, and some abort the process that runs
them. So only ours are run: nodes, their connections and integer constants have to be those of the
writer; the values and sizes of weights are free. The fields of the serialised protobuf are read
here, since the package ``onnx`` is not needed to answer.
"""

from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.serving.graph import Node, plan

INT64, FLOAT = 7, 1
MOST = 1000  # nodes, or constants: ours have fewer
# Numbers of fields in onnx.proto that ours have, by message.
_MODEL, _GRAPH, _TENSOR = {1, 2, 7, 8, 14}, {1, 2, 5, 11, 12}, {1, 2, 8, 9}
_NODE, _ATTRIBUTE = {1, 2, 4, 5}, {1, 3, 4, 8, 20}

Fields = dict[int, list[Any]]


def check_graph(model: bytes) -> None:
    """Raise `ValueError`, `LookupError` or `TypeError` if an ONNX model is none of ours."""
    (graph,) = _message(memoryview(model), _MODEL)[7]
    parts = _message(graph, _GRAPH)
    if max(len(parts[1]), len(parts[5])) > MOST:
        raise ValueError("too many nodes")
    nodes = [_node(part) for part in parts[1]]
    constants = dict(map(_constant, parts[5]))
    expected = plan(_params(nodes, constants), defaultdict(lambda: np.zeros((12, 0), np.float32)))
    if nodes != expected.nodes or len(constants) != len(expected.constants):
        raise ValueError("its nodes are not those that onoma writes")
    for n, value in enumerate(expected.constants):
        found = constants.get(f"constant_{n}")
        if (found is None) == (value.dtype == np.int64) or (
            found is not None and not np.array_equal(found, value)
        ):
            raise ValueError(f"constant_{n} is none that onoma writes")


def _params(nodes: list[Node], constants: dict[str, NDArray[np.int64] | None]) -> Any:
    """What of the model's params decides on the graph, from the graph itself."""
    cells = [node for node in nodes if node.operator in ("GRU", "LSTM", "RNN")]
    divisors = [constants[node.inputs[-1]] for node in nodes if node.operator == "Mod"]
    if not 1 <= len(cells) <= 8 or len(divisors) > 6 or any(d is None for d in divisors):
        raise ValueError("no recurrent layer, or too many")
    return SimpleNamespace(
        cell=cells[0].operator.lower(),
        hidden=cells[0].attributes["hidden_size"],
        layers=len(cells),
        bidirectional=cells[0].attributes["direction"] == "bidirectional",
        wide_ngrams=len(divisors),
        wide_buckets=int(divisors[0].item()) if divisors else 0,  # type: ignore[union-attr]
    )


def _node(content: memoryview) -> Node:
    fields = _message(content, _NODE)
    inputs, outputs, operator = ([_text(t) for t in fields[number]] for number in (1, 2, 4))
    attributes = {}
    for part in fields[5]:
        found = _message(part, _ATTRIBUTE)
        value = found[3] + [_text(text) for text in found[4]] or [found[8]]
        attributes[_text(found[1][-1])] = value[-1]
    return Node(operator[-1], inputs, outputs, attributes)


def _constant(content: memoryview) -> tuple[str, NDArray[np.int64] | None]:
    """Name and value of a tensor; no value for weights."""
    fields = _message(content, _TENSOR)
    kind, value = fields[2][-1], None
    if kind == INT64:
        value = np.frombuffer(fields[9][-1], "<i8").reshape(fields[1])
    elif kind != FLOAT:
        raise ValueError("a constant has another type")
    return _text(fields[8][-1]), value


def _message(content: memoryview, allowed: set[int]) -> Fields:
    found: Fields = defaultdict(list)
    for number, value in _fields(content):
        if number not in allowed:
            raise ValueError(f"field {number} is none that onoma writes")
        found[number].append(value)
    return found


def _text(content: Any) -> str:
    return str(content, "utf-8")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and content of each field of a protobuf message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key & 7 == 2:
            if at + value > len(message):
                raise ValueError("cut short")
            yield key >> 3, message[at : at + value]
            at += value
        elif key & 7 == 0:
            yield key >> 3, value - 2**64 * (value >> 63)
        else:
            raise ValueError("no protobuf that onoma writes")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number, seven bits a byte, and where it ends."""
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("cut short")
