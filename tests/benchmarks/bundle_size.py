"""What storing the n-gram table in fewer bits costs: bytes, accuracy, speed.

    python -m tests.benchmarks.bundle_size [--rounds 10]

Needs data/model and data/clean. The graphs of float32, float16 and int8 tables take turns on the
test names, on one thread; the least CPU time counts.
"""

import argparse
import time
from collections.abc import Callable, Iterator
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
from tests.benchmarks.common import clean, in_turns, print_table, seconds

Table = NDArray[Any]
WITHIN = "99 % of probabilities within"


def as_type(dtype: type) -> Callable[[Table], tuple[Table, Table]]:
    """A table that is only cast: all scales are 1."""
    return lambda table: (table.astype(dtype), np.ones(len(table), dtype=np.float16))


TABLES = {
    "float32": as_type(np.float32),
    "float16": as_type(np.float16),
    "int8": wide_graph.quantised,
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=10)
    args = options.parse_args()
    model, config = load_model(MODEL, torch.device("cpu"))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shape = ModelParams.model_validate(config.model)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    names, countries = clean("test")
    sizes, probabilities, workers = {}, {}, {}
    for title, quantised in TABLES.items():
        with patch.object(wide_graph, "quantised", quantised):
            content = graph.build(shape, weights, config.vocabulary.blank).SerializeToString()
        unfolded = {"disabled_optimizers": ["ConstantFolding"]}
        session = onnxruntime.InferenceSession(content, settings, **unfolded)
        batches: list[Table] = []

        def logits(codes: Table, session: Any = session, batches: Any = batches) -> Table:
            batches.append(codes)
            return np.asarray(session.run(None, {"codes": codes})[0])

        sizes[title] = len(content)
        probabilities[title] = Predictor(logits, config).predict_proba(names)
        workers[title] = partial(seconds, partial(run, session, batches), time.process_time)
    times = in_turns(workers, args.rounds)

    def rows() -> Iterator[tuple[str, ...]]:
        for title, table in probabilities.items():
            accuracy = (np.array(config.countries)[table.argmax(axis=1)] == countries).mean()
            within = np.quantile(np.abs(table - probabilities["float32"]).max(axis=1), 0.99)
            speed, slower = (
                len(names) / min(times[title]),
                min(times["float32"]) / min(times[title]),
            )
            cells = f"{sizes[title] / 1e6:.1f} MB", f"{accuracy:.4f}", f"{within:.4f}"
            yield title, *cells, f"{speed:,.0f}", f"{slower:.2f}"

    print_table(("table", "model.onnx", "accuracy", WITHIN, "names/s", "of float32"), rows())


def run(session: Any, batches: list[Table]) -> None:
    for codes in batches:
        session.run(None, {"codes": codes})


if __name__ == "__main__":
    main()
