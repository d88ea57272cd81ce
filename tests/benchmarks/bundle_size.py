"""What storing the n-gram table in fewer bits costs: bytes, accuracy, speed.

    python -m tests.benchmarks.bundle_size [--rounds 10] [--other MODEL.onnx]

Needs data/model and data/clean. The graphs of float32, float16 and int8 tables (and another one
for the same codes) take turns on the test names, on one thread; the least CPU time counts.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from stages.core.params import ModelParams
from stages.export import MODEL, test_rows
from stages.serving import graph
from stages.serving.engine import BATCH_CODES
from stages.serving.torch_bundle import load_model

INT8 = graph.quantised
Table = np.ndarray[Any, Any]


def as_type(dtype: type) -> Callable[[Table], tuple[Table, Table]]:
    """A table that is only cast: all scales are 1."""
    return lambda table: (table.astype(dtype), np.ones(len(table), dtype=np.float16))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--other", type=Path, help="another graph")
    args = options.parse_args()
    model, config = load_model(MODEL, torch.device("cpu"))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shape = ModelParams.model_validate(config.model)
    graphs = {}
    for name, quantised in (
        ("float32", as_type(np.float32)),
        ("float16", as_type(np.float16)),
        ("int8", INT8),
    ):
        graph.quantised = quantised
        graphs[name] = graph.build(shape, weights, config.vocabulary.blank).SerializeToString()
    if args.other:
        graphs["other"] = args.other.read_bytes()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    sessions = {
        name: onnxruntime.InferenceSession(
            content, settings, disabled_optimizers=["ConstantFolding"]
        )
        for name, content in graphs.items()
    }

    names, labels = map(np.concatenate, zip(*test_rows(), strict=True))
    order = np.argsort(names)  # as `Predictor.ask` does
    names, labels = names[order], labels[order]
    codes, offsets = config.vocabulary.encode(names.tolist())
    lengths = np.diff(offsets)
    batches = []
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for part in np.array_split(rows, -(-len(rows) * length // BATCH_CODES)):
            batches.append((part, codes[offsets[part][:, None] + np.arange(length)].astype("i8")))
    seconds: dict[str, list[float]] = {name: [] for name in graphs}
    logits = {name: np.empty((len(names), len(config.countries))) for name in graphs}
    for _ in range(args.rounds):
        for name, session in sessions.items():
            start = time.process_time()
            for rows, batch in batches:
                logits[name][rows] = session.run(None, {"codes": batch})[0]
            seconds[name].append(time.process_time() - start)

    def probabilities(name: str) -> Table:
        powers = np.exp(logits[name] / config.temperatures[0])
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    fastest = {name: min(column) for name, column in seconds.items()}
    print("| table | model.onnx | accuracy | 99 % of probabilities within | names/s | of float32 |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, content in graphs.items():
        accuracy = (np.array(config.countries)[logits[name].argmax(axis=1)] == labels).mean()
        apart = np.abs(probabilities(name) - probabilities("float32")).max(axis=1)
        print(
            f"| {name} | {len(content) / 1e6:.1f} MB | {accuracy:.4f} | "
            f"{np.quantile(apart, 0.99):.4f} | {len(names) / fastest[name]:,.0f} | "
            f"{fastest['float32'] / fastest[name]:.2f} |"
        )


if __name__ == "__main__":
    main()
