"""Fuzz targets: bundles from strangers, torch's and ONNX Runtime's."""

import json
import math
import os
import signal
import struct
import traceback

import numpy as np
import onnx
import torch
from hypothesis import strategies as st

from stages.corpus.vocabulary import Vocabulary
from stages.serving.bundle import load
from stages.serving.held_out import TYPES
from stages.serving.torch_bundle import save
from tests.fuzz.inputs import SCRATCH, Target, alone, altered, mutated, outcome
from tests.serving.made import classifier, config, held_out, save_onnx

FILES = ("config.json", "held_out.safetensors", "model.safetensors", "model.onnx")
VALID = config(
    vocabulary=Vocabulary("fold", ("LATIN",), tuple("abc")),
    countries=("Chad", "Peru"),
    held_out=held_out(200, 2, scripts=np.zeros(200)),
)
save(SCRATCH / "valid", VALID, classifier(VALID))
save_onnx(SCRATCH / "valid", VALID)
CONFIG, ARRAYS, WEIGHTS, GRAPH = ((SCRATCH / "valid" / name).read_bytes() for name in FILES)


def split(file: bytes) -> tuple[dict, bytes]:
    """Header and content of a safetensors file."""
    end = 8 + struct.unpack("<Q", file[:8])[0]
    return json.loads(file[8:end]), file[end:]


def joined(header: dict, content: bytes) -> bytes:
    """A safetensors file, with the correct length of its header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


JSON_TOKENS = [
    *(token.encode() for token in ['{', '}', '[', ']', '"', ',', ':', 'null', 'NaN', '1e999', '-', '\\ud800', '"F64"'])
]
JSON_TOKENS += [b"[" * 2000, b"9" * 5000, b"\xff", b"\0", b"\\u0000", b"18446744073709551615"]
configs = st.one_of(
    altered(json.loads(CONFIG)).map(lambda values: json.dumps(values).encode()),
    mutated([CONFIG], JSON_TOKENS),
    st.binary(max_size=60),
)


def safetensors(file: bytes) -> st.SearchStrategy[bytes]:
    """A file like this one with another header, or a few other bytes."""
    header, content = split(file)
    return st.one_of(
        altered(header).map(lambda header: joined(header, content)),
        mutated([file], JSON_TOKENS),
        st.binary(max_size=60),
    )


numbers = st.lists(st.floats(width=32), min_size=1, max_size=2)


@st.composite
def other_numbers(draw: st.DrawFn) -> bytes:
    """Held-out rows of which some arrays have other values or another length."""
    header, _ = split(ARRAYS)
    arrays = VALID.held_out.to_arrays()
    content = b""
    changed = draw(st.sets(st.sampled_from(sorted(TYPES)), min_size=1, max_size=2))
    for name, values in arrays.items():
        packed = values.tobytes()
        if name in changed:
            other = np.array(draw(numbers), dtype=np.float32).view("<u1").astype(TYPES[name])
            if TYPES[name].startswith("<f"):
                other = np.array(draw(numbers), dtype=TYPES[name])
            size = values.size if draw(st.booleans()) else draw(st.integers(0, 9000))
            packed = np.resize(other, size).tobytes()
        header[name]["data_offsets"] = [len(content), len(content) + len(packed)]
        content += packed
    return joined(header, content)


NAMES = ["Add", "Concat", "GRU", "Gather", "Identity", "LSTM", "MatMul", "Mod", "Pad"]


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


def answer(weights: str, **files: bytes) -> str:
    """Write a bundle; what is accepted must also answer."""
    folder = SCRATCH / weights
    folder.mkdir(exist_ok=True)
    contents = dict(zip(FILES, (CONFIG, ARRAYS, WEIGHTS, GRAPH), strict=True))
    for name in ("config.json", "held_out.safetensors", weights):
        (folder / name).write_bytes(files.get(name.split(".")[0], contents[name]))

    def work() -> None:
        for prediction in load(folder).answers(["a", "Abc Cab", "佐"]):
            assert "nan" not in repr(prediction)

    torch.set_num_threads(1)
    return outcome(work)


MOST_MEMORY = 5 * 2**20  # kilobytes: what ONNX Runtime may allocate, and the process itself


def answer_apart(graph: bytes) -> str:
    """`answer` in a process of its own, since ONNX Runtime aborts on a few graphs."""
    child = os.fork()
    if not child:
        try:
            os._exit(answer("model.onnx", model=graph) == "refused")
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1, -signal.SIGABRT), code
    assert usage.ru_maxrss < MOST_MEMORY
    return "accepted" if code == 0 else "refused"


TARGETS = {
    "config": Target(
        (CONFIG,), alone(configs), lambda inputs: answer("model.onnx", config=inputs[0])
    ),
    "held_out": Target(
        (ARRAYS,),
        alone(st.one_of(safetensors(ARRAYS), other_numbers())),
        lambda inputs: answer("model.onnx", held_out=inputs[0]),
    ),
    "bundle": Target(
        (CONFIG, WEIGHTS),
        st.one_of(
            st.tuples(configs, st.just(WEIGHTS)),
            st.tuples(st.just(CONFIG), safetensors(WEIGHTS)),
        ),
        lambda inputs: answer("model.safetensors", config=inputs[0], model=inputs[1]),
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
        lambda inputs: answer_apart(inputs[0]),
    ),
}
