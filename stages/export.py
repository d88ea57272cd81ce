"""Stage export: the trained model for ONNX Runtime, checked against torch on every test row.

Reads data/model and data/clean; writes data/onnx and metrics/export.json.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from stages.core.errors import UserError, exit_code
from stages.core.files import write_metrics
from stages.core.params import ModelParams
from stages.serving import bundle, onnx_bundle
from stages.serving.graph import build
from stages.serving.nodes import OPSET
from stages.serving.predictor import Predictor
from stages.serving.torch_bundle import load_model

CLEAN, MODEL, ONNX = Path("data/clean"), Path("data/model"), Path("data/onnx")
METRICS = Path("metrics/export.json")
ROWS = 2**15
# What 8 bits for each weight of the linear term may change.
LARGEST_DIFFERENCE = 0.02  # of a probability, for `LOWEST_SHARE` of the names
LOWEST_SHARE = 0.99
LARGEST_LOSS = 0.002  # of accuracy


def main() -> None:
    """Run the stage."""
    torch.set_num_threads(1)  # products this small are faster on one thread
    model, config = load_model(MODEL, torch.device("cpu"))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shape = ModelParams.model_validate(config.model)
    graph = build(shape, weights, config.vocabulary.blank).SerializeToString(deterministic=True)
    onnx_bundle.save(ONNX, config, graph)

    result = compare(bundle.load(MODEL), onnx_bundle.load(ONNX), test_rows())
    names = result.names
    loss = (result.right - result.right_exported) / names
    metrics = {
        "names": names,
        "same_top1": result.same_country / names,
        "same_reason_and_set": result.same_reason_and_set / names,
        "same_probabilities": result.same_probabilities / names,
        "probability_difference_below": LARGEST_DIFFERENCE,
        "accuracy_loss": loss,
        "opset": OPSET,
        "bytes": len(graph),
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "codes": len(weights["characters.weight"]),
        "countries": len(config.countries),
        "max_length": config.max_length,
        **dict(zip(("temperature", "temperature_full"), config.temperatures, strict=False)),
    }
    write_metrics(METRICS, metrics)
    summary = (
        f"{names - result.same_country} of {names} test names have another country than torch's, "
        f"{names - result.same_probabilities} a probability that is {LARGEST_DIFFERENCE} off; "
        f"accuracy falls by {loss:.4f}"
    )
    print(f"export: {summary}; {len(graph):,} bytes")
    if loss > LARGEST_LOSS or result.same_probabilities < LOWEST_SHARE * names:
        raise UserError(
            f"{ONNX}: answers differ from {MODEL}'s: {summary}; use {MODEL} and report this"
        )


def test_rows() -> Iterator[tuple[list[str], list[str]]]:
    """Names and countries of the test part, in chunks."""
    try:
        file = pq.ParquetFile(CLEAN / "test.parquet")
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such file; run dvc repro ingest") from None
    for batch in file.iter_batches(ROWS, columns=["name", "country"]):
        yield batch["name"].to_pylist(), batch["country"].to_pylist()


@dataclass
class Comparison:
    """Numbers of names: how the answers of a model and of its export differ."""

    names: int = 0
    right: int = 0
    right_exported: int = 0
    same_country: int = 0  # the most probable one
    same_reason_and_set: int = 0
    same_probabilities: int = 0  # all within `LARGEST_DIFFERENCE`


def compare(
    model: Predictor, exported: Predictor, chunks: Iterable[tuple[list[str], list[str]]]
) -> Comparison:
    """Compare the answers of both to all names, and to their countries."""
    result, labels = Comparison(), np.array(model.countries)
    for names, countries in chunks:
        ours, theirs = model.ask(names), exported.ask(names)
        best, best_exported = (labels[a.probabilities.argmax(axis=1)] for a in (ours, theirs))
        pairs = zip(ours.sets(), theirs.sets(), strict=True)
        same_sets = np.array([one == other for one, other in pairs])
        differences = np.abs(ours.probabilities - theirs.probabilities).max(axis=1)
        result.names += len(names)
        result.right += int((best == countries).sum())
        result.right_exported += int((best_exported == countries).sum())
        result.same_country += int((best == best_exported).sum())
        result.same_reason_and_set += int((same_sets & (ours.reasons == theirs.reasons)).sum())
        result.same_probabilities += int((differences <= LARGEST_DIFFERENCE).sum())
    return result


if __name__ == "__main__":
    sys.exit(exit_code(main))
