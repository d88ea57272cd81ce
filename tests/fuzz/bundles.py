"""Fuzz targets: bundles from strangers. Their graphs are left to ONNX Runtime's own fuzzers."""

import json
import struct

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.numpy import save as serialise

from stages.corpus.vocabulary import Vocabulary
from stages.serving.bundle import load
from stages.serving.held_out import TYPES
from stages.serving.torch_bundle import save
from tests.fuzz.inputs import SCRATCH, Target, altered, mutated, outcome
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


JSON_TOKENS = rb'{ } [ ] " , : null NaN 1e999 - \ud800 "F64"'.split()
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
    arrays = VALID.held_out.to_arrays()
    for name in draw(st.sets(st.sampled_from(sorted(TYPES)), min_size=1, max_size=2)):
        other = np.array(draw(numbers), dtype=np.float32)
        if not TYPES[name].startswith("<f"):
            other = other.view(np.uint8)
        size = arrays[name].size if draw(st.booleans()) else draw(st.integers(0, 9000))
        arrays[name] = np.resize(other.astype(TYPES[name]), size)
    return serialise(arrays)


def answer(weights: str, **files: bytes) -> str:
    """Write a bundle; what is accepted must also answer."""
    folder = SCRATCH / weights
    folder.mkdir(exist_ok=True)
    contents = dict(zip(FILES, (CONFIG, ARRAYS, WEIGHTS, GRAPH), strict=True))
    for name in ("config.json", "held_out.safetensors", weights):
        (folder / name).write_bytes(files.get(name.split(".")[0], contents[name]))

    def work() -> None:
        for prediction in load(folder).predict(["a", "Abc Cab", "佐"]):
            assert "nan" not in repr(prediction)

    torch.set_num_threads(1)
    return outcome(work)


TARGETS = {
    "config": Target(CONFIG, configs, lambda content: answer("model.onnx", config=content)),
    "held_out": Target(
        ARRAYS,
        st.one_of(safetensors(ARRAYS), other_numbers()),
        lambda content: answer("model.onnx", held_out=content),
    ),
    "shape": Target(CONFIG, configs, lambda content: answer("model.safetensors", config=content)),
    "weights": Target(
        WEIGHTS, safetensors(WEIGHTS), lambda content: answer("model.safetensors", model=content)
    ),
}
