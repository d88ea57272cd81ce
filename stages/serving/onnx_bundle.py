"""The exported model as a folder: config.json and model.onnx.

Nothing here imports torch or pydantic: the first answer should not wait for them.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stages.core.errors import UserError, brief, uncapitalised
from stages.core.files import atomic_path, read_regular, write_json
from stages.corpus.vocabulary import Vocabulary
from stages.serving import config as facts
from stages.serving.onnx_check import check_graph
from stages.serving.predictor import Predictor

FORMAT: Final = 2
MODEL, CONFIG = "model.onnx", "config.json"
VALUES = [("codes", "tensor(int64)"), ("logits", "tensor(float)")]
MAX_MODEL_BYTES, MAX_RUN_BYTES = 2**30, 2**32
SILENT = 4  # a log level of ONNX Runtime; its errors are exceptions, too
EXPORT = "export a model first (dvc repro export)"


def save(folder: Path, config: Mapping[str, Any], model: bytes) -> None:
    """Write a bundle.

    Args:
        folder: created if it does not exist.
        config: as `Predictor` takes it, as JSON values.
        model: serialised ONNX.
    """
    content = {"format": FORMAT, "population": "", "held_out": None, **config}
    _check(content)
    with atomic_path(folder / MODEL) as temporary:
        temporary.write_bytes(model)
    write_json(folder / CONFIG, content)


def load(folder: str | Path, threads: int = 1) -> Predictor:
    """Read a bundle that `save` wrote.

    Args:
        folder: the bundle.
        threads: batches computed at a time.

    Raises:
        UserError: the folder holds no such bundle, or its parts disagree.
    """
    folder = Path(folder)
    config = _read(folder / CONFIG)
    size = len(Vocabulary.from_config(config["vocabulary"]))
    session = _session(folder / MODEL)
    try:
        codes = session.get_modelmeta().custom_metadata_map.get("codes")
        inputs, outputs = session.get_inputs(), session.get_outputs()
        found = [(value.name, value.type) for value in (*inputs, *outputs)]
        shape = [output.shape for output in outputs]
    except UnicodeDecodeError as error:  # ONNX Runtime decodes texts only when it is asked for them
        raise UserError(f"{folder / MODEL}: not a valid ONNX model: {brief(error)}") from None
    countries = len(config["countries"])
    if (codes, found, shape) != (str(size), VALUES, [["batch", countries]]):
        raise UserError(f"{folder}: {MODEL} and {CONFIG} disagree; run dvc repro export")

    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            table = session.run(None, {"codes": codes})[0]
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise UserError(f"{folder / MODEL}: cannot be run: {brief(error, 150)}") from None
        if table.shape != (len(codes), countries):
            raise UserError(f"{folder / MODEL}: its output has another shape; {EXPORT}")
        return np.asarray(table)

    return Predictor(logits, config, threads, [folder / CONFIG, folder / MODEL])


def _session(path: Path) -> Any:
    try:
        content = read_regular(path, MAX_MODEL_BYTES)
        check_graph(content)
    except OSError as error:
        raise UserError(
            f"{path}: {uncapitalised(error.strerror or str(error))}; {EXPORT}"
        ) from None
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: not a valid ONNX model: {brief(error)}; {EXPORT}") from None
    options = onnxruntime.SessionOptions()
    # Products this small are faster on one thread; batches run in parallel instead.
    options.intra_op_num_threads = 1
    options.log_severity_level = SILENT
    options.add_session_config_entry("session.use_env_allocators", "1")
    _bound_memory()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"{path}: not a valid ONNX model: {brief(error, 150)}") from None


@cache
def _bound_memory() -> None:
    """Bound what all sessions of this process allocate: a product of weights can be huge."""
    kind, use = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    arena = onnxruntime.OrtArenaCfg({"max_mem": MAX_RUN_BYTES})
    onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo("Cpu", kind, 0, use), arena)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_regular(path, facts.MAX_CONFIG_BYTES))
        _check(config)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; {EXPORT}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not the config of an exported model: {brief(error)}") from None
    return dict(config)


def _check(config: Any) -> None:
    """Raise ValueError if a key is missing, unknown or has a value that is not allowed."""
    if not isinstance(config, dict):
        raise ValueError("not a JSON object")
    expected = {"format", *facts.FACTS}
    for key in sorted(expected ^ config.keys()):
        raise ValueError(f"{key} is {'missing' if key in expected else 'unknown'}")
    if config["format"] != FORMAT:
        raise ValueError(f"format must be {FORMAT}")
    facts.check(config)
