"""Stage export: the trained model for ONNX Runtime, checked against torch on every test row.

Reads data/model and data/clean; writes data/onnx and metrics/export.json.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
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
SAME = ("same_top1", "same_reason_and_set", "same_probabilities")  # of which metrics have shares
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

    counts = compare(bundle.load(MODEL), onnx_bundle.load(ONNX), test_rows())
    names = counts["names"]
    loss = (counts["right"] - counts["right_exported"]) / names
    metrics = {
        "names": names,
        **{key: counts[key] / names for key in SAME},
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
        f"{names - counts['same_top1']} of {names} test names have another country than torch's, "
        f"{names - counts['same_probabilities']} a probability that is {LARGEST_DIFFERENCE} off; "
        f"accuracy falls by {loss:.4f}"
    )
    print(f"export: {summary}; {len(graph):,} bytes")
    if loss > LARGEST_LOSS or counts["same_probabilities"] < LOWEST_SHARE * names:
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


def compare(
    model: Predictor, exported: Predictor, chunks: Iterable[tuple[list[str], list[str]]]
) -> Counter[str]:
    """Numbers of names: all, those that either model gets right, and those of each of `SAME`."""
    counts, labels = Counter[str](), np.array(model.countries)
    for names, countries in chunks:
        ours, theirs = model.ask(names), exported.ask(names)
        best, best_exported = (labels[a.probabilities.argmax(axis=1)] for a in (ours, theirs))
        pairs = zip(ours.sets(), theirs.sets(), strict=True)
        same_sets = np.array([one == other for one, other in pairs])
        differences = np.abs(ours.probabilities - theirs.probabilities).max(axis=1)
        counted = {
            "right": best == countries,
            "right_exported": best_exported == countries,
            "same_top1": best == best_exported,
            "same_reason_and_set": same_sets & (ours.reasons == theirs.reasons),
            "same_probabilities": differences <= LARGEST_DIFFERENCE,
        }
        counts.update({key: int(is_counted.sum()) for key, is_counted in counted.items()})
        counts["names"] += len(names)
    return counts


if __name__ == "__main__":
    sys.exit(exit_code(main))
