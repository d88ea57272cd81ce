"""The exported model as a folder: `Config`'s files and model.onnx.

Nothing here imports torch or pydantic: the first answer should not wait for them.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stages.core.errors import UserError, brief, uncapitalised
from stages.core.files import atomic_path, read_regular
from stages.serving.config import CONFIG, Config
from stages.serving.predictor import Predictor

MODEL = "model.onnx"
VALUES = [("codes", "tensor(int64)"), ("logits", "tensor(float)")]
MAX_MODEL_BYTES, MAX_RUN_BYTES = 2**30, 2**32
SILENT = 4  # a log level of ONNX Runtime; its errors are exceptions, too
EXPORT = "export a model first (dvc repro export)"


def save(folder: Path, config: Config, model: bytes) -> None:
    """Write a bundle.

    Args:
        folder: the bundle, created if it does not exist.
        config: everything about the model but its weights.
        model: the serialised graph, with the weights.
    """
    with atomic_path(folder / MODEL) as temporary:
        temporary.write_bytes(model)
    config.write(folder)


def load(folder: Path, threads: int = 1) -> Predictor:
    """Read a bundle from any source; see `stages.serving.bundle.load`.

    Raises:
        UserError: the folder holds no such bundle, or its parts disagree.
    """
    config, path = Config.read(folder), folder / MODEL
    session = _session(path)
    try:
        codes = session.get_modelmeta().custom_metadata_map.get("codes")
        inputs, outputs = session.get_inputs(), session.get_outputs()
        values = [(value.name, value.type) for value in (*inputs, *outputs)]
        shapes = [output.shape for output in outputs]
    except UnicodeDecodeError as error:  # ONNX Runtime decodes texts only when it is asked for them
        raise UserError(f"{path}: not a valid ONNX model: {brief(error)}") from None
    countries = len(config.countries)
    if (codes, values, shapes) != (str(len(config.vocabulary)), VALUES, [["batch", countries]]):
        raise UserError(f"{folder}: {MODEL} and {CONFIG} disagree; run dvc repro export")

    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            table = session.run(None, {"codes": codes})[0]
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise UserError(f"{path}: cannot be run: {brief(error, 150)}") from None
        if table.shape != (len(codes), countries):
            raise UserError(f"{path}: its output has another shape; {EXPORT}")
        return np.asarray(table)

    return Predictor(logits, config, threads, [*config.files(folder), path])


def _session(path: Path) -> Any:
    try:
        content = read_regular(path, MAX_MODEL_BYTES)
    except OSError as error:
        reason = uncapitalised(error.strerror or str(error))
        raise UserError(f"{path}: {reason}; {EXPORT}") from None
    if b"location" in content:  # a key of tensors that lie in other files
        raise UserError(f"{path}: not a valid ONNX model: reads other files; {EXPORT}")
    options = onnxruntime.SessionOptions()
    # Products this small are faster on one thread; batches run in parallel instead.
    options.intra_op_num_threads = 1
    options.log_severity_level = SILENT
    options.add_session_config_entry("session.use_env_allocators", "1")
    _bound_memory()
    try:
        return onnxruntime.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConstantFolding"],  # its products have no bound
        )
    except Exception as error:
        raise UserError(f"{path}: not a valid ONNX model: {brief(error, 150)}; {EXPORT}") from None


@cache
def _bound_memory() -> None:
    """Bound what all sessions of this process allocate: a product of weights can be huge."""
    kind, use = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    arena = onnxruntime.OrtArenaCfg({"max_mem": MAX_RUN_BYTES})
    onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo("Cpu", kind, 0, use), arena)
