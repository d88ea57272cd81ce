"""Fuzz targets: bundles from strangers, torch's and ONNX Runtime's."""

import base64
import json
import math
import struct

import numpy as np
import onnx
import torch
from hypothesis import strategies as st

from stages.corpus.vocabulary import Vocabulary
from stages.serving import torch_bundle as bundle
from stages.model.classifier import Classifier
from stages.serving.held_out import TYPES, HeldOut, Letters, NgramSet
from stages.serving import onnx_bundle
from stages.serving.bundle import load
from stages.serving.graph import build
from tests.fuzz.inputs import PARAMS, SCRATCH, Target, alone, altered, mutated, outcome


def valid_bundle() -> tuple[dict, bytes]:
    """The config and the weights of a bundle that loads."""
    model = PARAMS["model"] | {"embedding": 2, "hidden": 2, "wide_buckets": 2}
    config = bundle.Config(
        model=model,
        vocabulary={"case": "fold", "scripts": ["LATIN"], "characters": "abc"},
        countries=["Chad", "Peru"],
        normalize="nfc",
        max_length=20,
        temperature=1.0,
        provenance={"torch": "2"},
    )
    bundle.save(SCRATCH / "valid", config, Classifier(config.model, 7, 2))
    weights = (SCRATCH / "valid/model.safetensors").read_bytes()
    return json.loads((SCRATCH / "valid/config.json").read_bytes()), weights


CONFIG, WEIGHTS = valid_bundle()
CONFIG_BYTES = json.dumps(CONFIG).encode()
HEADER_END = 8 + struct.unpack("<Q", WEIGHTS[:8])[0]
HEADER = json.loads(WEIGHTS[8:HEADER_END])


def with_header(header: dict) -> bytes:
    """The weights after another header, with the correct length of that header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + WEIGHTS[HEADER_END:]


configs = altered(CONFIG).map(lambda config: json.dumps(config).encode())
weights = altered(HEADER).map(with_header)
JSON_TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"null",
    b"NaN",
    b"1e999",
    b"-",
    b"\\ud800",
]
JSON_TOKENS += [
    b"[" * 2000,
    b"9" * 5000,
    b"\xff",
    b"\0",
    b"\\u0000",
    b'"F64"',
    b"18446744073709551615",
]


def read_bundle(inputs: tuple[bytes, ...]) -> str:
    """What is accepted must also answer."""
    folder = SCRATCH / "bundle"
    folder.mkdir(exist_ok=True)
    for name, content in zip(("config.json", "model.safetensors"), inputs, strict=True):
        (folder / name).write_bytes(content)

    def work() -> None:
        predictor = load(folder)
        assert predictor.probabilities(["a"]).shape == (1, len(predictor.countries))

    torch.set_num_threads(1)
    return outcome(work)


# The exported bundle.


def valid_export() -> tuple[dict, bytes]:
    """The config, with held-out rows, and the graph of a bundle that loads."""
    model, config = bundle.load_model(SCRATCH / "valid", torch.device("cpu"))
    vocabulary = Vocabulary.from_config(config.vocabulary.model_dump())
    held_out = HeldOut(
        prior=np.array([0.25, 0.75]),
        thresholds=np.array([0.1, 0.2]),
        labels=np.arange(200) % 2,
        probabilities=np.full((200, 2), 0.5),
        scripts=np.zeros(200),
        measures=np.random.default_rng(1).random((200, 2)),
        ngrams=NgramSet(Letters(vocabulary)).bits,
    )
    facts = config.model_dump(exclude={"format", "model", "provenance"})
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    graph = build(config.model, state).SerializeToString(deterministic=True)
    onnx_bundle.save(SCRATCH / "export", facts | {"held_out": held_out.to_config()}, graph)
    return json.loads((SCRATCH / "export/config.json").read_bytes()), graph


EXPORT, GRAPH = valid_export()
EXPORT_BYTES = json.dumps(EXPORT).encode()
NAMES = ["Add", "Concat", "GRU", "Gather", "Identity", "LSTM", "Loop", "MatMul", "Mod", "Pad"]
numbers = st.lists(st.floats(width=32), min_size=1, max_size=2)


@st.composite
def other_numbers(draw: st.DrawFn) -> bytes:
    """A config in which some arrays of ``held_out`` have other values or another length."""
    held_out = dict(EXPORT["held_out"])
    for part in draw(st.sets(st.sampled_from(sorted(TYPES)), min_size=1, max_size=2)):
        values = np.frombuffer(base64.b64decode(held_out[part]), TYPES[part])
        content = np.array(draw(numbers), dtype=np.float32).view("<u1").astype(TYPES[part])
        if TYPES[part].startswith("<f"):
            content = np.array(draw(numbers), dtype=TYPES[part])
        size = len(values) if draw(st.booleans()) else draw(st.integers(0, 9000))
        held_out[part] = base64.b64encode(np.resize(content, size).tobytes()).decode()
    return json.dumps(EXPORT | {"held_out": held_out}).encode()


@st.composite
def other_graph(draw: st.DrawFn) -> bytes:
    """A graph in which nodes and constants of ours are put together in another way."""
    model = onnx.ModelProto.FromString(GRAPH)
    nodes, constants = model.graph.node, model.graph.initializer
    values = sorted({name for node in nodes for name in (*node.input, *node.output)})
    for _ in range(draw(st.integers(1, 3))):
        node = draw(st.sampled_from(list(nodes)))
        match draw(st.sampled_from(["input", "operator", "output", "constant", "attribute"])):
            case "input":
                node.input[draw(st.integers(0, len(node.input) - 1))] = draw(
                    st.sampled_from(values)
                )
            case "operator":
                node.op_type = draw(st.sampled_from(NAMES))
            case "output":
                node.output[-1] = draw(st.sampled_from(values))
            case "constant":
                constant = draw(st.sampled_from(list(constants)))
                size = len(constant.raw_data)
                constant.raw_data = draw(st.binary(min_size=min(size, 8), max_size=8)).ljust(size)
                match draw(st.sampled_from(["same", "dims", "size"])):
                    case "dims":
                        constant.dims[:] = draw(st.lists(st.integers(-1, 2**62), max_size=3))
                    case "size":
                        constant.dims[:] = draw(st.lists(st.integers(0, 9), max_size=3))
                        constant.raw_data = bytes(4 * math.prod(constant.dims))
            case _:
                for attribute in node.attribute:
                    attribute.i = draw(st.integers(-(2**63), 2**63 - 1))
    return model.SerializeToString()


def read_export(config: bytes, graph: bytes) -> str:
    """What is accepted must also answer."""
    folder = SCRATCH / "onnx"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(config)
    (folder / "model.onnx").write_bytes(graph)

    def work() -> None:
        for answer in load(folder).answers(["a", "Abc Cab", "佐"]):
            assert "nan" not in repr(answer)

    return outcome(work)


TARGETS = {
    "bundle": Target(
        (CONFIG_BYTES, WEIGHTS),
        st.one_of(
            st.tuples(configs, st.just(WEIGHTS)),
            st.tuples(mutated([CONFIG_BYTES], JSON_TOKENS), st.just(WEIGHTS)),
            st.tuples(st.just(CONFIG_BYTES), weights),
            st.tuples(st.just(CONFIG_BYTES), mutated([WEIGHTS], JSON_TOKENS)),
            st.tuples(st.binary(max_size=60), st.binary(max_size=60)),
        ),
        read_bundle,
    ),
    "config": Target(
        (EXPORT_BYTES,),
        alone(
            st.one_of(
                altered(EXPORT).map(lambda config: json.dumps(config).encode()),
                other_numbers(),
                mutated([EXPORT_BYTES], JSON_TOKENS),
            )
        ),
        lambda inputs: read_export(inputs[0], GRAPH),
    ),
    "graph": Target(
        (GRAPH,),
        alone(
            st.one_of(
                other_graph(),
                mutated([GRAPH], [b"\xff" * 9, b"\x00", b"\x01", b"GRU", b"Loop"]),
                st.binary(max_size=60),
            )
        ),
        lambda inputs: read_export(EXPORT_BYTES, inputs[0]),
    ),
}
