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

from stages.core import onnx_bundle
from stages.core.alphabet import Vocabulary
from stages.core.beside import Beside
from stages.core.calibration import fit_temperature
from stages.core.classifier import Classifier
from stages.core.dataset import Names
from stages.core.device import make_reproducible, select_device, select_precision
from stages.core.inference import all_logits, loss_and_accuracy
from stages.core.linear import linear_svm
from stages.core.notebook import NotebookClassifier, guesses, train_epochs
from stages.core.onnx_graph import build
from stages.core.params import Params
from stages.core.scoring import expected_calibration_error, macro_f1
from stages.core.training import Training

INDEX = Path("data/index")
NOTEBOOK_EPOCHS = 20
PREDICTIONS = 5  # of the whole test file; the median counts

Guesses = NDArray[np.int64]
Epochs = Iterator[tuple[float, float]]
"""At the end of each epoch: seconds since the first batch, and test accuracy."""


def index() -> dict[str, Any]:
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
        self.labels = np.load(INDEX / "test/labels.npy").astype(np.int64)

    @property
    def countries(self) -> list[str]:
        """In the order of their labels."""
        return list(index()["countries"])

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
        params = recipe(self.name)
        train, held_out, test = (
            Names.load(INDEX / split) for split in ("train", "calibration", "test")
        )
        names = Names.joined(train, held_out) if params.train.refit else train
        with ExitStack() as stack:
            if params.train.refit:
                calibration = stack.enter_context(Beside(temperature, self.name, self.seed))
            training = begin(params, self.seed, names)
            size, device, precision = (
                params.evaluate.batch_size,
                training.device,
                training.precision,
            )
            start = time.perf_counter()
            while not training.finished:
                training.run_epoch(lambda names: None)
                _, accuracy = loss_and_accuracy(training.model, test, size, device, precision)
                yield time.perf_counter() - start, accuracy
            if params.train.refit:
                fitted = calibration.result()
            else:
                fitted = temperature_of(training, params, held_out)

        facts = {
            **index(),
            "normalize": params.ingest.normalize,
            "max_length": params.ingest.max_length,
            "temperature": fitted,
        }
        weights = {name: value.cpu().numpy() for name, value in training.model.state_dict().items()}
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


def recipe(name: str) -> Params:
    """The parameters of a recipe, ``default`` or another."""
    return Params.load(Path("params.yaml"), "params" if name == "default" else name)


def begin(params: Params, seed: int, names: Names) -> Training:
    """As the stage does."""
    make_reproducible(seed, params.train.threads)
    device = select_device(params.train.device)
    codes = len(Vocabulary.from_config(index()["vocabulary"]))
    model = Classifier(params.model, codes, len(index()["countries"])).to(device)
    settings = params.train.model_copy(update={"seed": seed})
    precision = select_precision(params.train.precision, device)
    return Training(model, names, settings, device, precision)


def temperature(name: str, seed: int) -> float:
    """That of a recipe, by a training without the held-out rows."""
    params = recipe(name)
    training = begin(params, seed, Names.load(INDEX / "train"))
    while not training.finished:
        training.run_epoch(lambda names: None)
    return temperature_of(training, params, Names.load(INDEX / "calibration"))


def temperature_of(training: Training, params: Params, held_out: Names) -> float:
    """By names that the model has not met."""
    model, countries = training.model, training.model.logits.out_features
    logits = all_logits(model, held_out, countries, params.evaluate.batch_size, training.device)
    return fit_temperature(logits, held_out.labels)


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
