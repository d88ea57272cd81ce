"""Fuzz targets: what a stranger's bytes may do is be accepted or be refused in one line.

Any other exception fails the target. Inputs are raw bytes, and valid files with a few mutations.
"""

import gzip
import json
import struct
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.core.errors import UserError
from stages.core.params import IngestParams, Params
from stages.corpus.reading import read
from stages.model import bundle
from stages.model.classifier import Classifier
from stages.serving.bundle import load
from tests.conftest import ROOT

PARAMS = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
LONGEST_MESSAGE = 500
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # saves the disk millions of writes
SCRATCH = Path(tempfile.mkdtemp(prefix="onoma-fuzz-", dir=MEMORY))


@dataclass(frozen=True)
class Target:
    """A valid input, inputs, and what is done with one: returns "accepted" or "refused"."""

    valid: tuple[bytes, ...]
    inputs: st.SearchStrategy[tuple[bytes, ...]]
    run: Callable[[tuple[bytes, ...]], str]


def outcome(work: Callable[[], object]) -> str:
    """Do ``work``; a refusal has to be one short line."""
    try:
        work()
    except UserError as error:
        text = str(error).replace(str(SCRATCH), "")
        assert len(text.splitlines()) == 1, text
        assert len(text) <= LONGEST_MESSAGE, text
        return "refused"
    return "accepted"


@st.composite
def mutated(draw: st.DrawFn, files: list[bytes], tokens: list[bytes]) -> bytes:
    """A valid file in which a few pieces are cut, doubled, overwritten or put in."""
    data = draw(st.sampled_from(files))
    piece = st.sampled_from(tokens) | st.binary(min_size=1, max_size=4)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["put", "overwrite", "cut", "double", "end"])):
            case "put":
                data = data[:at] + draw(piece) + data[at:]
            case "overwrite":
                data = data[:at] + draw(piece) + data[to:]
            case "cut":
                data = data[:at] + data[to:]
            case "double":
                data = data[:to] + data[at:to] * draw(st.integers(1, 50)) + data[to:]
            case _:
                data = data[:at]
    return data


ODD = [None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, float("nan"), float("inf")]
ODD += ["", "a", "\0", "é\n", "\ud800", "x" * 3000, "gru", [], [[]], ["a", "a"], {}, {"a": {}}]


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every value inside ``value``."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            found += places(inner, (*path, key))
    return found


@st.composite
def altered(draw: st.DrawFn, valid: dict) -> dict:
    """JSON values in which some are replaced, gone, or new."""
    result = json.loads(json.dumps(valid))
    for path in draw(st.lists(st.sampled_from(places(valid)), min_size=1, max_size=2)):
        inner = result
        try:
            for key in path[:-1]:
                inner = inner[key]
            match draw(st.sampled_from(["odd", "odd", "number", "text", "gone", "new"])):
                case "odd":
                    inner[path[-1]] = deepcopy(draw(st.sampled_from(ODD)))
                case "number":
                    inner[path[-1]] = draw(st.integers() | st.floats())
                case "text":
                    inner[path[-1]] = draw(st.text(max_size=8))
                case "gone":
                    del inner[path[-1]]
                case _:
                    inner[draw(st.text(max_size=8))] = deepcopy(draw(st.sampled_from(ODD)))
        except (KeyError, IndexError, TypeError):
            pass  # an earlier alteration took that place away
    return result


# The CSV reader.

ROWS = [
    b'"M\xc3\xbcller","Germany"\n"Nguyen","Vietnam"\n',
    b"name,country\r\nRossi,Italy\r\nO'Neil,Ireland\r\n",
    b'\xef\xbb\xbfIvanov,Russia\n\n"a ""b""",Greece\n,\nx\n1,2,3\n"=cmd()",Chad\nlast,Row',
]
CSVS = [*ROWS, *(gzip.compress(rows, mtime=0) for rows in ROWS)]
CSV_TOKENS = [b'"', b",", b"\n", b"\r", b"\0", b'""', b"\xff\xfe", b"\xef\xbb\xbf", b"\x1f\x8b"]
CSV_TOKENS += [b"\xc3", "\u2028".encode(), b"'", b" ", b"\t", b"\\", b"x" * 300, b'"\n"']
INGEST = IngestParams.model_validate(PARAMS["ingest"] | {"max_row_bytes": 256})
zipped = st.lists(st.sampled_from([*CSV_TOKENS, *ROWS]), max_size=8).map(b"".join)


def read_csv(inputs: tuple[bytes, ...]) -> str:
    """Every row is either kept or refused, with its line."""
    (content,) = inputs
    path = SCRATCH / "names.csv"
    path.write_bytes(content)

    def work() -> None:
        for rows, rejects, _ in read(str(path), INGEST):
            assert not rows.isna().any(axis=None) and not rejects.isna().any(axis=None)
            assert (rejects["line"] >= 1).all()
            for name in rows["name"].unique():
                assert name and name == name.strip() and not set(name) & set("\n\r\0")

    return outcome(work)


# The params file.

YAML_TOKENS = [b"&a ", b"*a", b"<<: ", b"!!int ", b"!!binary ", b"!!python/name:os.system ", b"- "]
YAML_TOKENS += [b"!!timestamp ", b"!!set ", b"!!omap ", b"? ", b": ", b"{", b"}", b"[", b"]", b"|"]
YAML_TOKENS += [b"\n", b"\t", b"#", b"'", b'"', b"\\x", b"---\n", b"%YAML 1.1\n", b"\xff", b"1_0"]
YAML_TOKENS += [b".nan", b".inf", b"2001-99-99", b"0o9", b"1e999", b"~", b"9" * 5000, b"\0", b">-"]
BLOCKS = [json.dumps({name: value}).encode() for name, value in PARAMS.items()]
whole_params = altered(PARAMS).map(lambda values: json.dumps(values).encode())
some_params = st.sampled_from(list(PARAMS)).flatmap(
    lambda name: altered({name: PARAMS[name]}).map(lambda values: json.dumps(values).encode())
)


def read_params(inputs: tuple[bytes, ...]) -> str:
    """`Params.load`."""
    (content,) = inputs
    path = SCRATCH / "params.yaml"
    path.write_bytes(content)
    return outcome(lambda: Params.load(path))


# The bundle reader.


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
    """The weights behind another header, whose length is told right."""
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


def alone(strategy: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, ...]]:
    """An input of one file."""
    return strategy.map(lambda content: (content,))


TARGETS = {
    "csv": Target(
        (CSVS[-1],),
        alone(
            st.one_of(
                st.binary(max_size=60),
                zipped,
                zipped.map(lambda rows: gzip.compress(rows, 1, mtime=0)),
                mutated(CSVS, CSV_TOKENS),
            )
        ),
        read_csv,
    ),
    "params": Target(
        (json.dumps(PARAMS).encode(),),
        alone(
            st.one_of(
                st.binary(max_size=40),
                st.lists(st.sampled_from(YAML_TOKENS), max_size=8).map(b"".join),
                mutated(BLOCKS, YAML_TOKENS),
                some_params,
                # Whole files take 50 ms each: one in some fifty.
                st.integers(0, 9).flatmap(lambda n: some_params if n else whole_params),
            )
        ),
        read_params,
    ),
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
}
