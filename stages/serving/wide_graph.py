"""The linear term of the classifier as a part of its ONNX graph.

Its weights, nearly all of the classifier's, are stored in int8: a quarter of the bytes, and no
slower. Its features are found by `Lookup`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from stages.core.params import ModelParams
from stages.corpus.vocabulary import BEGIN, END
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

Array = NDArray[Any]
Features = Sequence[tuple[str, str]]  # hashes and values, (batch, length) each
NO_HASH = -1  # where there is no feature; no key has its fingerprint


def quantised(table: Array) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """(rows, columns) weights as integers from -127 to 127, and each row's scale."""
    scales = (np.abs(table).max(axis=1, initial=0) / 127).astype(np.float16)
    divisors = np.where(scales > 0, scales, 1).astype(np.float32)[:, None]
    return np.clip(np.rint(table / divisors), -127, 127).astype(np.int8), scales


def wide_logits(graph: Graph, params: ModelParams, weights: Mapping[str, Array], blank: int) -> str:
    """`Wide.forward` of names of one length."""
    features = _features(graph, params, blank)
    # The last rows of both tables may have no feature.
    frequent, rare = (weights[f"wide.{kind}_keys"] <= HIGHEST_HASH for kind in ("frequent", "rare"))
    keys, table = (weights[f"wide.frequent{part}"][frequent] for part in ("_keys", ".weight"))
    logits = _frequent_logits(graph, features, keys, table)
    if not features[SHORT:] or not rare.any():
        return logits
    parts = (weights[f"wide.rare{part}"][rare] for part in ("_keys", ".weight", "_countries"))
    return _add_rare(graph, logits, features[SHORT:], *parts)


def _frequent_logits(graph: Graph, features: Features, keys: Array, weights: Array) -> str:
    """(batch, countries) logits by frequent features, from their (features, countries) weights."""
    lookup = Lookup.of(keys)
    slots, values = _look_up(graph, lookup, features)
    table, scales = quantised(weights)
    values = graph.node("Mul", values, graph.cast(graph.gather(lookup.spread(scales), slots)))
    axis = graph.constant([1])  # (batch, 1, features) times (batch, features, countries)
    values = graph.node("Unsqueeze", values, axis)
    rows = graph.cast(graph.gather(lookup.spread(table), slots))
    logits = graph.node("MatMul", values, rows)
    return graph.node("Squeeze", logits, axis)


def _add_rare(
    graph: Graph, logits: str, features: Features, keys: Array, weights: Array, countries: Array
) -> str:
    """The logits with those of rare features; weights and countries are (features, 2)."""
    lookup = Lookup.of(keys)
    slots, values = _look_up(graph, lookup, features)
    (flat,), scale = quantised(weights.reshape(1, -1))
    table = lookup.spread(flat.reshape(-1, RARE_COUNTRIES))
    values = graph.node("Mul", values, graph.constant(scale.astype(np.float32)))
    values = graph.node("Unsqueeze", values, graph.constant([2]))
    values = graph.node("Mul", values, graph.cast(graph.gather(table, slots)))
    table = lookup.spread(countries.astype(np.min_scalar_type(int(countries.max()))))
    columns = graph.cast(graph.gather(table, slots), TensorProto.INT64)
    flat = graph.constant([0, -1])
    values, columns = (graph.node("Reshape", each, flat) for each in (values, columns))
    # One more column, for the second country of features that have one.
    logits = graph.node("Pad", logits, graph.constant([0, 0, 0, 1]))
    logits = graph.node("ScatterElements", logits, columns, values, axis=1, reduction="add")
    return graph.positions(logits, 0, -1)


def _features(graph: Graph, params: ModelParams, blank: int) -> Features:
    """`Wide.features`, a pair for each column; where no word ends, the hash is `NO_HASH`."""
    length = graph.cast(graph.node("Shape", INPUT, start=1, end=2))
    shape = graph.node("Shape", INPUT)
    value = graph.node("Expand", graph.node("Reciprocal", graph.node("Sqrt", length)), shape)
    features = [(hashes, value) for hashes in _hash_ngrams(graph, params.wide_ngrams)]
    if params.wide_words:
        ends = [graph.node("Equal", INPUT, graph.constant(code)) for code in (blank, END)]
        is_end = graph.node("Or", *ends)
        hashes = graph.node("Where", is_end, _hash_words(graph, blank), graph.constant(NO_HASH))
        words = graph.node("ReduceSum", graph.cast(is_end), graph.constant([1]))
        value = graph.node("Reciprocal", graph.node("Sqrt", words))
        scale = graph.constant(np.array(params.wide_words, np.float32))
        features.append((hashes, graph.node("Expand", graph.node("Mul", value, scale), shape)))
    return features


def _look_up(graph: Graph, lookup: Lookup, features: Features) -> tuple[str, str]:
    """(batch, features) slots of hashes, and their values: 0 for those that are no keys."""
    hashes, values = (graph.node("Concat", *each, axis=1) for each in zip(*features, strict=True))
    hashes = graph.cast(hashes, TensorProto.INT32)  # faster than 64 bits; nothing below exceeds it

    def constant(value: int) -> str:
        return graph.constant(np.array(value, np.int32))

    group = graph.node("BitwiseAnd", hashes, constant(len(lookup.displacements) - 1))
    moved = graph.cast(graph.gather(lookup.displacements, group), TensorProto.INT32)
    size = constant(len(lookup.fingerprints))
    slots = graph.node("Mod", graph.node("Sub", hashes, moved), size)
    high_bits = graph.node("BitwiseAnd", hashes, constant(-1 << LOW_BITS))
    fingerprints = graph.cast(graph.gather(lookup.fingerprints, slots), TensorProto.INT32)
    fingerprints = graph.node("Mul", fingerprints, constant(1 << LOW_BITS))
    is_key = graph.node("Equal", fingerprints, high_bits)
    return slots, graph.node("Where", is_key, values, graph.constant(np.array(0, np.float32)))


def _hash_ngrams(graph: Graph, orders: int) -> Iterator[str]:
    """`wide.hash_ngrams` of the codes, for each order: one step more than for the one before."""
    hashed = graph.node("BitwiseAnd", INPUT, graph.constant(HIGHEST_HASH))
    shifted = _shifted(graph, INPUT, orders - 1)
    for back in range(orders):
        if back:
            hashed = _step(graph, hashed, shifted(back))
        yield _last_step(graph, hashed)


def _hash_words(graph: Graph, blank: int) -> str:
    """`wide.hash_words` of the codes."""
    begin = graph.constant(BEGIN)
    is_blank = graph.node("Equal", INPUT, graph.constant(blank))
    shifted = _shifted(graph, graph.node("Where", is_blank, begin, INPUT), WORD)
    inside = graph.node("GreaterOrEqual", INPUT, begin)
    hashed = graph.cast(inside, TensorProto.INT64)
    for back in range(1, WORD + 1):
        letter = shifted(back)
        inside = graph.node("And", inside, graph.cast(letter, TensorProto.BOOL))
        hashed = graph.node("Where", inside, _step(graph, hashed, letter), hashed)
    return _last_step(graph, hashed)


def _shifted(graph: Graph, codes: str, most: int) -> Callable[[int], str]:
    """`wide.shifted` of codes, by up to so many positions."""
    padded = graph.node("Pad", codes, graph.constant([0, most, 0, 0]))
    return lambda back: graph.positions(padded, most - back, -back)


def _step(graph: Graph, hashed: str, codes: str) -> str:
    moved = graph.node("Mul", hashed, graph.constant(MULTIPLIER))
    return graph.node("BitwiseAnd", graph.node("Add", moved, codes), graph.constant(HIGHEST_HASH))


def _last_step(graph: Graph, hashed: str) -> str:
    moved = graph.node("Mul", hashed, graph.constant(LAST_MULTIPLIER))
    return graph.node("BitwiseAnd", moved, graph.constant(HIGHEST_HASH))
