"""The contestants of `onoma bench`, one per process.

    python -m stages.commands.contestants NAME SEED TARGET

Reads data/clean and data/index of the current folder, trains and predicts, prints one JSON object
and leaves the guesses in guesses.npy.
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.commands.notebook import NotebookClassifier, guesses, train_epochs
from stages.core.params import Params
from stages.core.runtime import make_reproducible, select_device, select_precision
from stages.corpus.dataset import Names
from stages.model.linear import linear_svm
from stages.serving import onnx_bundle
from stages.serving.onnx_graph import build
from stages.training.beside import Beside
from stages.training.calibration import temperature_of
from stages.training.inference import loss_and_accuracy
from stages.training.metrics import expected_calibration_error, macro_f1
from stages.training.trainer import Training, begin

INDEX = Path("data/index")
NOTEBOOK_EPOCHS = 20
PREDICTIONS = 5  # of the whole test file; the median counts

Guesses = NDArray[np.int64]
Epochs = Iterator[tuple[float, float]]
"""At the end of each epoch: seconds since the first batch, and test accuracy."""


def load_index() -> dict[str, Any]:
    """What the index stage knows of vocabulary and countries."""
    found: dict[str, Any] = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))
    return found


class Contestant(ABC):
    """Something that learns countries of names."""

    def __init__(self, name: str, seed: int) -> None:
        """Read the rows; ``name`` is a recipe where there are several."""
        self.name, self.seed = name, seed
        self.train, self.test = (
            pd.read_parquet(f"data/clean/{split}.parquet") for split in ("train", "test")
        )
        self.countries: list[str] = load_index()["countries"]  # in the order of their labels
        self.labels = np.load(INDEX / "test/labels.npy").astype(np.int64)

    @abstractmethod
    def epochs(self) -> Epochs:
        """Train."""

    @abstractmethod
    def guess(self, names: list[str]) -> Guesses:
        """The likeliest country of each name."""

    def calibration_error(self, names: list[str]) -> float | None:
        """ECE over the names of the test file; None without probabilities."""
        return None


class Ours(Contestant):
    """A recipe of this project, trained as the stage trains it, answering as `onoma predict`."""

    def epochs(self) -> Epochs:
        """Train the recipe, beside the training that fits the temperature if it has one.

        The time is the training's; the temperature and the export come after it.
        """
        params = recipe(self.name, self.seed)
        train, held_out, test = (
            Names.load(INDEX / split) for split in ("train", "calibration", "test")
        )
        names = Names.joined(train, held_out) if params.train.refit else train
        with ExitStack() as stack:
            if params.train.refit:
                calibration = stack.enter_context(Beside(temperature, self.name, self.seed))
            training = start(params, names)
            model, device, size = training.model, training.device, params.evaluate.batch_size
            begun = time.perf_counter()
            while not training.finished:
                training.run_epoch(lambda names: None)
                _, accuracy = loss_and_accuracy(model, test, size, device, training.precision)
                yield time.perf_counter() - begun, accuracy
            if params.train.refit:
                fitted = calibration.result()
            else:
                fitted = temperature_of(model, held_out, size, device)

        facts = {
            **load_index(),
            "normalize": params.ingest.normalize,
            "max_length": params.ingest.max_length,
            "temperature": fitted,
        }
        weights = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
        graph = build(params.model, weights).SerializeToString(deterministic=True)
        with tempfile.TemporaryDirectory() as folder:
            onnx_bundle.save(Path(folder), facts, graph)
            self._predictor = onnx_bundle.load(folder, os.cpu_count() or 1)

    def guess(self, names: list[str]) -> Guesses:
        """By ONNX Runtime."""
        return np.asarray(self._predictor.probabilities(names).argmax(axis=1))

    def calibration_error(self, names: list[str]) -> float:
        """With the fitted temperature, over 15 bins."""
        return expected_calibration_error(self._predictor.probabilities(names), self.labels, 15)


def recipe(name: str, seed: int) -> Params:
    """The parameters of a recipe, ``default`` or another, with a training seed of its own."""
    params = Params.load(Path("params.yaml"), "params" if name == "default" else name)
    settings = params.train.model_copy(update={"seed": seed})
    return params.model_copy(update={"train": settings})


def start(params: Params, names: Names) -> Training:
    """As the stage does."""
    make_reproducible(params.train.seed, params.train.threads)
    device = select_device(params.train.device)
    precision = select_precision(params.train.precision, device)
    return begin(params, load_index(), names, device, precision)


def temperature(name: str, seed: int) -> float:
    """That of a recipe, by a training without the held-out rows."""
    params = recipe(name, seed)
    training = start(params, Names.load(INDEX / "train"))
    while not training.finished:
        training.run_epoch(lambda names: None)
    held_out, size = Names.load(INDEX / "calibration"), params.evaluate.batch_size
    return temperature_of(training.model, held_out, size, training.device)


class Notebook(Contestant):
    """The lecture notebook's network and loop."""

    def epochs(self) -> Epochs:
        """Train as long as the notebook's curve rises."""
        torch.manual_seed(self.seed)
        self._model = NotebookClassifier(len(self.countries))
        place = {country: label for label, country in enumerate(self.countries)}
        labels = torch.tensor([place[country] for country in self.train["country"]])
        names, test = self.train["name"].tolist(), self.test["name"].tolist()
        start = time.perf_counter()
        for _ in train_epochs(self._model, names, labels, NOTEBOOK_EPOCHS):
            accuracy = float((self.guess(test) == self.labels).mean())
            yield time.perf_counter() - start, accuracy

    def guess(self, names: list[str]) -> Guesses:
        """In padded, packed batches."""
        return guesses(self._model, names).numpy()


class LinearSvm(Contestant):
    """TF-IDF of character n-grams and a linear SVM."""

    def epochs(self) -> Epochs:
        """Fit, in one go."""
        params = Params.load(Path("params.yaml")).baseline
        self._model = linear_svm(params.ngrams, params.regularisation, self.seed)
        start = time.perf_counter()
        self._model.fit(self.train["name"], self.train["country"])
        seconds = time.perf_counter() - start
        yield seconds, float((self.guess(self.test["name"].tolist()) == self.labels).mean())

    def guess(self, names: list[str]) -> Guesses:
        """By the largest margin."""
        return np.asarray(np.searchsorted(self.countries, self._model.predict(names)))


def measure(name: str, seed: int, target: float) -> dict[str, Any]:
    """Train and test one contestant in this process."""
    contestant = {"notebook": Notebook, "svm": LinearSvm}.get(name, Ours)(name, seed)
    curve = list(contestant.epochs())
    names = contestant.test["name"].tolist()
    contestant.guess(names[:100])  # what is slow the first time only
    seconds = []
    for _ in range(PREDICTIONS):
        start = time.perf_counter()
        found = contestant.guess(names)
        seconds.append(time.perf_counter() - start)
    np.save("guesses.npy", found)
    return {
        "accuracy": float((found == contestant.labels).mean()),
        "macro_f1": macro_f1(contestant.labels, found),
        "ece": contestant.calibration_error(names),
        "epochs": len(curve),
        "train_seconds": curve[-1][0],
        "seconds_to_target": next((when for when, hits in curve if hits >= target), None),
        "train_names_per_second": len(contestant.train) * len(curve) / curve[-1][0],
        "predict_names_per_second": len(names) / statistics.median(seconds),
        "peak_megabytes": sum(
            resource.getrusage(who).ru_maxrss / 1024
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
