"""What storing the n-gram table in fewer bits costs: bytes, accuracy, speed.

    python -m tests.benchmarks.bundle_size [--rounds 10]

Needs data/model and data/clean. The graphs of float32, float16 and int8 tables take turns on the
test names, on one thread; the least CPU time counts.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from stages.core.params import ModelParams
from stages.export import MODEL
from stages.serving import graph, wide_graph
from stages.serving.predictor import Predictor
from stages.serving.torch_bundle import load_model
from tests.benchmarks.common import clean, in_turns, options, print_table, seconds

Table = NDArray[Any]
HEADER = "table", "model.onnx", "accuracy", "99 % of probabilities within", "names/s", "of float32"


def as_type(dtype: type) -> Callable[[Table], tuple[Table, Table]]:
    """A table that is only cast: all scales are 1."""
    return lambda table: (table.astype(dtype), np.ones(len(table), dtype=np.float16))


TABLES = {
    "float32": as_type(np.float32),
    "float16": as_type(np.float16),
    "int8": wide_graph.quantised,
}


def main() -> None:
    args = options(__doc__, rounds=10).parse_args()
    model, config = load_model(MODEL, torch.device("cpu"))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shape = ModelParams.model_validate(config.model)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    names, countries = clean("test")
    rows, probabilities, workers = {}, {}, {}
    for title, quantised in TABLES.items():
        with patch.object(wide_graph, "quantised", quantised):
            content = graph.build(shape, weights, config.vocabulary.blank).SerializeToString()
        unfolded = {"disabled_optimizers": ["ConstantFolding"]}
        session = onnxruntime.InferenceSession(content, settings, **unfolded)
        batches: list[Table] = []

        def logits(codes: Table, session: Any = session, batches: Any = batches) -> Table:
            batches.append(codes)
            return np.asarray(session.run(None, {"codes": codes})[0])

        table = probabilities[title] = Predictor(logits, config).predict_proba(names)
        accuracy = (np.array(config.countries)[table.argmax(axis=1)] == countries).mean()
        within = np.quantile(np.abs(table - probabilities["float32"]).max(axis=1), 0.99)
        rows[title] = title, f"{len(content) / 1e6:.1f} MB", f"{accuracy:.4f}", f"{within:.4f}"
        workers[title] = partial(seconds, partial(run, session, batches), time.process_time)
    least = {title: min(times) for title, times in in_turns(workers, args.rounds).items()}
    for title, time_ in least.items():
        rows[title] += f"{len(names) / time_:,.0f}", f"{least['float32'] / time_:.2f}"
    print_table(HEADER, rows.values())


def run(session: Any, batches: list[Table]) -> None:
    for codes in batches:
        session.run(None, {"codes": codes})


if __name__ == "__main__":
    main()
