"""The exported model as a folder: config.json and model.onnx.

Nothing here imports torch or pydantic: the first answer should not wait for them.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stages.core.errors import UserError, brief
from stages.core.files import atomic_path, write_json
from stages.corpus.vocabulary import Vocabulary
from stages.model.held_out import HeldOut
from stages.serving.predictor import Predictor

FORMAT: Final = 1
MODEL, CONFIG = "model.onnx", "config.json"
MAX_CONFIG_BYTES = 64 * 2**20
ERRORS_ONLY = 3  # a log level of ONNX Runtime
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
    codes = session.get_modelmeta().custom_metadata_map.get("codes")
    shape = [output.shape for output in session.get_outputs()]
    if codes != str(size) or shape != [["batch", len(config["countries"])]]:
        raise UserError(f"{folder}: {MODEL} and {CONFIG} disagree; run dvc repro export")

    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {"codes": codes})[0])

    return Predictor(logits, config, threads, [folder / CONFIG, folder / MODEL])


def _session(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such file; {EXPORT}")
    options = onnxruntime.SessionOptions()
    # Products this small are faster on one thread; batches run in parallel instead.
    options.intra_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise UserError(f"{path}: not a valid ONNX model: {brief(error, 150)}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UserError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes, so not a bundle's")
        config = json.loads(path.read_bytes())
        _check(config)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; {EXPORT}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not the config of an exported model: {brief(error)}") from None
    return dict(config)


def _distinct_texts(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and all(isinstance(text, str) for text in value)
        and len(set(value)) == len(value)
    )


_RULES: dict[str, Callable[[Any], bool]] = {
    "format": lambda value: value == FORMAT,
    "vocabulary": lambda value: (
        isinstance(value, dict)
        and value.keys() == {"case", "scripts", "characters"}
        and value["case"] in ("keep", "fold")
        and _distinct_texts(value["scripts"])
        and isinstance(value["characters"], str)
        and _distinct_texts(list(value["characters"]))
    ),
    "countries": lambda value: _distinct_texts(value) and len(value) > 0,
    "normalize": lambda value: value in ("nfc", "ascii"),
    "max_length": lambda value: type(value) is int and 1 <= value <= 1000,
    "temperature": lambda value: type(value) is float and 0 < value < float("inf"),
    "population": lambda value: isinstance(value, str),
    "held_out": lambda value: (
        value is None
        or (isinstance(value, dict) and all(isinstance(text, str) for text in value.values()))
    ),
}


def _check(config: Any) -> None:
    """Raise ValueError if a key is missing, unknown or has a value that is not allowed."""
    if not isinstance(config, dict):
        raise ValueError("not a JSON object")
    for key in sorted(_RULES.keys() ^ config.keys()):
        raise ValueError(f"{key} is {'missing' if key in _RULES else 'unknown'}")
    for key, allowed in _RULES.items():
        if not allowed(config[key]):
            raise ValueError(f"{key} has a value that is not allowed")
    if config["held_out"]:
        HeldOut.from_config(config["held_out"], len(config["countries"]))
