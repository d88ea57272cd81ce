"""Stage export: the trained model for ONNX Runtime, checked against torch on every test name.

Reads data/model and data/clean; writes data/onnx and metrics/export.json.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from stages.core.errors import UserError, exit_code
from stages.core.files import write_metrics
from stages.core.params import ModelParams
from stages.serving import bundle, onnx_bundle
from stages.serving.graph import OPSET, build
from stages.serving.predictor import Predictor
from stages.serving.torch_bundle import load_model

CLEAN, MODEL, ONNX = Path("data/clean"), Path("data/model"), Path("data/onnx")
METRICS = Path("metrics/export.json")
ROWS = 2**15
TOLERANCE = 1e-4  # largest difference of a probability
TIE = 1e-6  # countries whose probabilities are this close may swap ranks


def main() -> None:
    """Run the stage."""
    torch.set_num_threads(1)  # products this small are faster on one thread
    model, config = load_model(MODEL, torch.device("cpu"))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shape = ModelParams.model_validate(config.model)
    graph = build(shape, weights).SerializeToString(deterministic=True)
    onnx_bundle.save(ONNX, config, graph)

    result = compare(bundle.load(MODEL), onnx_bundle.load(ONNX), test_names())
    metrics = {
        "names": result.names,
        "same_top1": result.same / result.names,
        "same_reason_and_set": result.same_reason_and_set / result.names,
        "probability_difference_below": power_of_ten_above(result.difference),
        "opset": OPSET,
        "bytes": len(graph),
        "weights": sum(array.size for array in weights.values()),
        "codes": len(weights["characters.weight"]),
        "countries": len(config.countries),
        "max_length": config.max_length,
        "temperature": config.temperatures[0],
    }
    write_metrics(METRICS, metrics)
    print(
        f"export: {result.names} test names, {result.same} with torch's country, "
        f"probabilities within {result.difference:.1e}; {len(graph):,} bytes"
    )
    if result.difference > TOLERANCE or result.changed:
        raise UserError(
            f"{ONNX}: answers differ from {MODEL}'s: {result.changed} countries, "
            f"probabilities by up to {result.difference:.1e}; use {MODEL} and report this"
        )


def test_names() -> Iterator[list[str]]:
    """The names of the test part, in chunks."""
    try:
        file = pq.ParquetFile(CLEAN / "test.parquet")
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such file; run dvc repro ingest") from None
    for batch in file.iter_batches(ROWS, columns=["name"]):
        yield batch["name"].to_pylist()


@dataclass
class Comparison:
    """How the answers of two models to the same names differ."""

    names: int = 0
    same: int = 0  # names with the same most probable country
    changed: int = 0  # names with another one that is not tied
    same_reason_and_set: int = 0
    difference: float = 0.0  # the largest difference of a probability


def compare(left: Predictor, right: Predictor, chunks: Iterator[list[str]]) -> Comparison:
    """Compare the answers of both models to all names."""
    result = Comparison()
    for names in chunks:
        left_answers, right_answers = left.ask(names), right.ask(names)
        pairs = zip(left.sets(left_answers), right.sets(right_answers), strict=True)
        same_sets = np.array([one == other for one, other in pairs])
        same_reasons = left_answers.reasons == right_answers.reasons
        result.same_reason_and_set += int((same_sets & same_reasons).sum())
        ours, theirs = left_answers.probabilities, right_answers.probabilities
        chosen = theirs.argmax(axis=1)
        lost = ours.max(axis=1) - ours[np.arange(len(names)), chosen]
        result.names += len(names)
        result.same += int((ours.argmax(axis=1) == chosen).sum())
        result.changed += int((lost > TIE).sum())
        result.difference = max(result.difference, float(np.abs(ours - theirs).max()))
    return result


def power_of_ten_above(value: float) -> float:
    """A bound that rounding errors do not change: 3.1e-7 -> 1e-6."""
    return float(f"1e{math.floor(math.log10(max(value, 1e-8))) + 1}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
