"""The contestants of `onoma bench`, one per process.

    python -m tests.benchmarks.contestants NAME SEED TARGET

Reads data/clean and data/index of the current folder, trains and predicts, prints one JSON object
and writes the predictions to predictions.npy.
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from ruamel.yaml import YAML

from stages.commands import notebook, recipe
from stages.core.params import Params
from stages.training.distributed import Runtime
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.model.linear import linear_svm
from stages.model.metrics import accuracy_and_f1, expected_calibration_error
from stages.serving import onnx_bundle
from stages.serving.graph import build
from stages.serving.calibration import fit_temperature
from stages.training.inference import all_logits
from stages.training.trainer import Metrics, Trainer

CLEAN, INDEX, PARAMS = Path("data/clean"), Path("data/index"), Path("params.yaml")
NOTEBOOK_EPOCHS = 20
PREDICTIONS = 5  # passes over the test file; the median counts
ECE_BINS = 15

Predict = Callable[[list[str]], NDArray[Any]]
"""Names -> (names,) places of countries, or (names, countries) probabilities."""
Epochs = list[tuple[float, float]]
"""For each epoch: seconds since the first batch, and test accuracy."""


def train_recipe(name: str, seed: int) -> tuple[Predict, Epochs]:
    """A recipe of this project, trained as the stage does; predicts by ONNX Runtime."""
    text = recipe.apply(PARAMS.read_text(encoding="utf-8"), recipe.load(name))
    params = Params.check(YAML(typ="safe", pure=True).load(text), PARAMS)
    settings = params.train.model_copy(update={"seed": seed})
    index = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))
    train, held_out, test = (Names.load(INDEX / s) for s in ("train", "calibration", "test"))
    runtime = Runtime.create(settings)
    codes = len(Vocabulary.from_config(index["vocabulary"]))
    model = Classifier(params.model, codes, len(index["countries"])).to(runtime.device)
    epochs: Epochs = []
    start = time.perf_counter()

    def on_epoch(metrics: Metrics) -> None:
        epochs.append((time.perf_counter() - start, metrics["test_accuracy"]))

    Trainer(model, settings, train, runtime).fit({"test": test}, on_epoch)
    facts = {
        **index,
        "normalize": params.ingest.normalize,
        "max_length": params.ingest.max_length,
        "temperature": fit_temperature(all_logits(model, held_out, 1024), held_out.labels),
    }
    weights = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    graph = build(params.model, weights).SerializeToString(deterministic=True)
    with tempfile.TemporaryDirectory() as folder:
        onnx_bundle.save(Path(folder), facts, graph)
        return onnx_bundle.load(folder, os.cpu_count() or 1).probabilities, epochs


def train_notebook(seed: int) -> tuple[Predict, Epochs]:
    """The lecture notebook's network and loop, for as long as its accuracy rises."""
    torch.manual_seed(seed)
    train, countries, names, labels = rows()
    model = notebook.NotebookClassifier(len(countries))
    targets = torch.from_numpy(np.searchsorted(countries, train["country"]))
    epochs: Epochs = []
    start = time.perf_counter()
    for _ in notebook.train_epochs(model, train["name"].tolist(), targets, NOTEBOOK_EPOCHS):
        accuracy = float((notebook.predict(model, names).numpy() == labels).mean())
        epochs.append((time.perf_counter() - start, accuracy))
    return lambda names: notebook.predict(model, names).numpy(), epochs


def train_svm(seed: int) -> tuple[Predict, Epochs]:
    """TF-IDF of character n-grams and a linear SVM."""
    params = Params.load(PARAMS).baseline
    train, countries, names, labels = rows()
    model = linear_svm(params.ngrams, params.regularisation, seed, params.class_weight)
    start = time.perf_counter()
    model.fit(train["name"], train["country"])
    seconds = time.perf_counter() - start

    def predict(names: list[str]) -> NDArray[Any]:
        return np.asarray(np.searchsorted(countries, model.predict(names)))

    return predict, [(seconds, float((predict(names) == labels).mean()))]


def rows() -> tuple[pd.DataFrame, list[str], list[str], NDArray[np.int64]]:
    """Training rows, countries in the order of their labels, test names and their labels."""
    train, test = (pd.read_parquet(CLEAN / f"{split}.parquet") for split in ("train", "test"))
    countries = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))["countries"]
    return train, countries, test["name"].tolist(), np.searchsorted(countries, test["country"])


def measure(name: str, seed: int, target: float) -> dict[str, Any]:
    """Train and test one contestant in this process."""
    if name == "notebook":
        predict, epochs = train_notebook(seed)
    elif name == "svm":
        predict, epochs = train_svm(seed)
    else:
        predict, epochs = train_recipe(name, seed)
    train, _, names, labels = rows()
    predict(names[:100])  # the first call is the slowest
    seconds = []
    for _ in range(PREDICTIONS):
        start = time.perf_counter()
        found = predict(names)
        seconds.append(time.perf_counter() - start)
    error = None
    if found.ndim == 2:
        error = expected_calibration_error(found, labels, ECE_BINS)
        found = found.argmax(axis=1)
    np.save("predictions.npy", found)
    return {
        **accuracy_and_f1(labels, found),
        "ece": error,
        "epochs": len(epochs),
        "train_seconds": epochs[-1][0],
        "seconds_to_target": next((when for when, share in epochs if share >= target), None),
        "train_names_per_second": len(train) * len(epochs) / epochs[-1][0],
        "predict_names_per_second": len(names) / statistics.median(seconds),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
