"""Whether an ONNX model holds only what `stages.serving.onnx_graph` writes.

ONNX graphs can loop, read other files and define functions; ours do not. The fields of the
serialised protobuf are walked here, since the package ``onnx`` is not needed to answer.
"""

from collections.abc import Iterator
from typing import Any

OPERATORS = {
    *(b"Add", b"BitwiseAnd", b"Cast", b"Concat", b"Div", b"GRU", b"Gather", b"Gemm", b"Identity"),
    *(b"LSTM", b"MatMul", b"Mod", b"Mul", b"Pad", b"RNN", b"ReduceSum", b"Reshape", b"Shape"),
    *(b"Slice", b"Softmax", b"Sqrt", b"Tanh", b"Transpose"),
}
MOST_NODES = 1000
# Messages as {number of a field: its own message, the values it may have, or None for any}. The
# numbers are those of onnx.proto; fields of other wire types are numbers, which do no harm.
_ATTRIBUTE = {1: None, 4: None, 8: None}  # name, text, integers: no tensors and no graphs
_NODE = {1: None, 2: None, 4: OPERATORS, 5: _ATTRIBUTE}  # inputs, outputs, operator
_TENSOR = {1: None, 8: None, 9: None}  # shape, name, values: not in another file
_GRAPH = {1: _NODE, 2: None, 5: _TENSOR, 11: None, 12: None}  # name, tensors, inputs, outputs
_MODEL = {2: None, 7: _GRAPH, 8: None, 14: None}  # producer, versions of operators, metadata


def check_graph(model: bytes) -> None:
    """Raise `ValueError` if a serialised ONNX model has a part that ours do not have."""
    _check(memoryview(model), _MODEL, "model")
    graphs = (value for number, value in _fields(memoryview(model)) if number == 7)
    nodes = sum(number == 1 for graph in graphs for number, _ in _fields(graph))
    if nodes > MOST_NODES:
        raise ValueError(f"{nodes} nodes, more than {MOST_NODES}")


def _check(message: memoryview, allowed: dict[int, Any], what: str) -> None:
    for number, value in _fields(message):
        if number not in allowed:
            raise ValueError(f"field {number} of a {what} is none that onoma writes")
        inner = allowed[number]
        if isinstance(inner, dict):
            _check(value, inner, f"{what}.{number}")
        elif inner and bytes(value) not in inner:
            raise ValueError("an operator is none that onoma uses")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field that has bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        size = {1: 8, 5: 4}.get(key & 7, 0)
        if key & 7 in (0, 2):
            value, at = _varint(message, at)
            size = value if key & 7 == 2 else 0
        elif not size:
            raise ValueError("no protobuf")
        if at + size > len(message):
            raise ValueError("cut short")
        if key & 7 == 2:
            yield key >> 3, message[at : at + size]
        at += size


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
