"""The linear term of the classifier as a part of its ONNX graph.

Its weights, nearly all of the classifier's, are stored in int8: a quarter of the bytes, and no
slower. Its features are found by `Lookup`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from stages.core.params import ModelParams
from stages.corpus.vocabulary import END
from stages.model.wide import (
    HIGHEST_HASH,
    LAST_MULTIPLIER,
    MULTIPLIER,
    RARE_COUNTRIES,
    SHORT,
    WORD,
)
from stages.serving.lookup import LOW_BITS, Lookup
from stages.serving.nodes import INPUT, Graph

NO_HASH = HIGHEST_HASH + 1  # of no feature, and with no key's fingerprint


def quantised(table: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """(rows, columns) weights as integers from -127 to 127, and each row's scale."""
    scales = (np.abs(table).max(axis=1, initial=0) / 127).astype(np.float16)
    divisors = np.where(scales > 0, scales, 1).astype(np.float32)[:, None]
    return np.clip(np.rint(table / divisors), -127, 127).astype(np.int8), scales


def wide_logits(
    graph: Graph, params: ModelParams, weights: Mapping[str, NDArray[Any]], blank: int
) -> str:
    """`Wide.forward` of names of one length."""
    features = _features(graph, params, blank)
    used = {kind: weights[f"wide.{kind}_keys"] <= HIGHEST_HASH for kind in ("frequent", "rare")}
    keys = {kind: weights[f"wide.{kind}_keys"][rows] for kind, rows in used.items()}

    lookup = Lookup.of(keys["frequent"])
    slots, values = _look_up(graph, lookup, features)
    table, scales = quantised(weights["wide.frequent.weight"][used["frequent"]])
    values = graph.node("Mul", values, graph.cast(graph.gather(lookup.spread(scales), slots)))
    axis = graph.constant([1])  # (batch, 1, features) times (batch, features, countries)
    values = graph.node("Unsqueeze", values, axis)
    rows = graph.cast(graph.gather(lookup.spread(table), slots))
    logits = graph.node("MatMul", values, rows)
    logits = graph.node("Squeeze", logits, axis)

    features = features[SHORT:]
    if not features or not used["rare"].any():
        return logits
    lookup = Lookup.of(keys["rare"])
    slots, values = _look_up(graph, lookup, features)
    (flat,), scale = quantised(weights["wide.rare.weight"][used["rare"]].reshape(1, -1))
    table = lookup.spread(flat.reshape(-1, RARE_COUNTRIES))
    values = graph.node("Mul", values, graph.constant(scale.astype(np.float32)))
    values = graph.node("Unsqueeze", values, graph.constant([2]))
    values = graph.node("Mul", values, graph.cast(graph.gather(table, slots)))
    countries = weights["wide.rare_countries"][used["rare"]]
    table = lookup.spread(countries.astype(np.min_scalar_type(int(countries.max()))))
    columns = graph.cast(graph.gather(table, slots), TensorProto.INT64)
    flat = graph.constant([0, -1])
    values, columns = (graph.node("Reshape", each, flat) for each in (values, columns))
    # One more column, for the second country of features that have one.
    logits = graph.node("Pad", logits, graph.constant([0, 0, 0, 1]))
    logits = graph.node("ScatterElements", logits, columns, values, axis=1, reduction="add")
    return graph.positions(logits, 0, -1)


def _features(graph: Graph, params: ModelParams, blank: int) -> list[tuple[str, str]]:
    """`Wide.features`: hashes and values, (batch, length) of each order and of words.

    Where no word ends, there is `NO_HASH`.
    """
    length = graph.cast(graph.node("Shape", INPUT, start=1, end=2))
    shape = graph.node("Shape", INPUT)
    value = graph.node("Expand", graph.node("Reciprocal", graph.node("Sqrt", length)), shape)
    orders = range(1, params.wide_ngrams + 1)
    features = [(_hash_ngrams(graph, order), value) for order in orders]
    if params.wide_words:
        ends = [graph.node("Equal", INPUT, graph.constant(code)) for code in (blank, END)]
        is_end = graph.node("Or", *ends)
        hashes = graph.node("Where", is_end, _hash_words(graph, blank), graph.constant(NO_HASH))
        number = graph.node("ReduceSum", graph.cast(is_end), graph.constant([1]))
        value = graph.node("Reciprocal", graph.node("Sqrt", number))
        scale = graph.constant(np.array(params.wide_words, np.float32))
        features.append((hashes, graph.node("Expand", graph.node("Mul", value, scale), shape)))
    return features


def _look_up(graph: Graph, lookup: Lookup, features: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """(batch, features) slots of hashes, and their values: 0 for those that are no keys."""
    hashes, values = (graph.node("Concat", *each, axis=1) for each in zip(*features, strict=True))
    group = graph.node("BitwiseAnd", hashes, graph.constant(len(lookup.displacements) - 1))
    moved = graph.cast(graph.gather(lookup.displacements, group), TensorProto.INT64)
    size = graph.constant(len(lookup.fingerprints))
    slots = graph.node("Mod", graph.node("Add", hashes, moved), size)
    high_bits = graph.node("Div", hashes, graph.constant(1 << LOW_BITS))
    fingerprints = graph.cast(graph.gather(lookup.fingerprints, slots), TensorProto.INT64)
    is_key = graph.node("Equal", fingerprints, high_bits)
    return slots, graph.node("Where", is_key, values, graph.constant(np.array(0, np.float32)))


def _hash_ngrams(graph: Graph, order: int) -> str:
    """`wide.hash_ngrams` of the codes."""
    low_bits = graph.constant(HIGHEST_HASH)
    hashed = graph.node("BitwiseAnd", INPUT, low_bits)
    for back in range(1, order):
        padded = graph.node("Pad", INPUT, graph.constant([0, back, 0, 0]))
        shifted = graph.positions(padded, 0, -back)
        moved = graph.node("Mul", hashed, graph.constant(MULTIPLIER))
        hashed = graph.node("BitwiseAnd", graph.node("Add", moved, shifted), low_bits)
    return graph.node(
        "BitwiseAnd", graph.node("Mul", hashed, graph.constant(LAST_MULTIPLIER)), low_bits
    )


def _hash_words(graph: Graph, blank: int) -> str:
    """`wide.hash_words` of the codes."""
    low_bits, begin = graph.constant(HIGHEST_HASH), graph.constant(0)
    is_blank = graph.node("Equal", INPUT, graph.constant(blank))
    letters = graph.node("Where", is_blank, begin, INPUT)
    inside = graph.node("GreaterOrEqual", INPUT, begin)
    hashed = graph.node("Cast", inside, to=TensorProto.INT64)
    for back in range(1, WORD + 1):
        padded = graph.node("Pad", letters, graph.constant([0, back, 0, 0]))
        shifted = graph.positions(padded, 0, -back)
        inside = graph.node("And", inside, graph.node("Cast", shifted, to=TensorProto.BOOL))
        moved = graph.node("Mul", hashed, graph.constant(MULTIPLIER))
        moved = graph.node("BitwiseAnd", graph.node("Add", moved, shifted), low_bits)
        hashed = graph.node("Where", inside, moved, hashed)
    return graph.node(
        "BitwiseAnd", graph.node("Mul", hashed, graph.constant(LAST_MULTIPLIER)), low_bits
    )
