"""Fuzz targets by name; here the readers of CSVs and of params.yaml."""

import gzip
import json

from hypothesis import strategies as st

from stages.core.params import IngestParams, Params
from stages.core.yaml_file import read_yaml
from stages.corpus.reading import read
from tests.fuzz import bundles, names
from tests.fuzz.inputs import PARAMS, SCRATCH, Target, altered, mutated, outcome

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


def read_csv(content: bytes) -> str:
    """Every row is either kept or refused, with its line."""
    path = SCRATCH / "names.csv"
    path.write_bytes(content)

    def work() -> None:
        for rows, rejects, *_ in read(str(path), INGEST):
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


def read_params(content: bytes) -> str:
    """`Params.load`; blocks that the file lacks are as shipped."""
    path = SCRATCH / "params.yaml"
    path.write_bytes(content)

    def work() -> None:
        values = read_yaml(path)
        Params.check(PARAMS | values if isinstance(values, dict) else values, path)

    return outcome(work)


TARGETS = {
    "csv": Target(
        CSVS[-1],
        st.one_of(
            st.binary(max_size=60),
            zipped,
            zipped.map(lambda rows: gzip.compress(rows, 1, mtime=0)),
            mutated(CSVS, CSV_TOKENS),
        ),
        read_csv,
    ),
    "params": Target(
        json.dumps(PARAMS).encode(),
        st.one_of(
            st.binary(max_size=40),
            st.lists(st.sampled_from(YAML_TOKENS), max_size=8).map(b"".join),
            mutated(BLOCKS, YAML_TOKENS),
            some_params,
            # Whole files take 50 ms each: one in some fifty.
            st.integers(0, 9).flatmap(lambda n: some_params if n else whole_params),
        ),
        read_params,
    ),
    **bundles.TARGETS,
    **names.TARGETS,
}
