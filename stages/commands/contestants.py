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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.core import onnx_bundle
from stages.core.alphabet import Vocabulary
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


class Contestant(ABC):
    """Something that learns countries of names."""

    def __init__(self, name: str, seed: int) -> None:
        """Read the rows; ``name`` is a recipe where there are several."""
        self.name, self.seed = name, seed
        self.train, self.test = (
            pd.read_parquet(f"data/clean/{split}.parquet") for split in ("train", "test")
        )
        self.index = json.loads((INDEX / "vocabulary.json").read_text(encoding="utf-8"))
        self.labels = np.load(INDEX / "test/labels.npy").astype(np.int64)

    @property
    def countries(self) -> list[str]:
        """In the order of their labels."""
        return list(self.index["countries"])

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
        """Train the recipe; then export, outside the time.

        The time begins with the first batch, be it of the training that only fits the temperature.
        """
        recipe = "params" if self.name == "default" else self.name
        params = Params.load(Path("params.yaml"), recipe)
        device = select_device(params.train.device)
        precision = select_precision(params.train.precision, device)
        train, held_out, test = (
            Names.load(INDEX / split) for split in ("train", "calibration", "test")
        )
        vocabulary = Vocabulary.from_config(self.index["vocabulary"])
        settings = params.train.model_copy(update={"seed": self.seed})
        batch_size = params.evaluate.batch_size

        def begin(names: Names) -> Training:
            make_reproducible(self.seed, params.train.threads)
            model = Classifier(params.model, len(vocabulary), len(self.countries)).to(device)
            return Training(model, names, settings, device, precision)

        def temperature_of(model: Classifier) -> float:
            logits = all_logits(model, held_out, len(self.countries), batch_size, device)
            return fit_temperature(logits, held_out.labels)

        training, temperature = begin(train), None
        start = time.perf_counter()
        if settings.refit:
            while not training.finished:
                training.run_epoch(lambda names: None)
            temperature = temperature_of(training.model)
            training = begin(Names.joined(train, held_out))
        while not training.finished:
            training.run_epoch(lambda names: None)
            _, accuracy = loss_and_accuracy(training.model, test, batch_size, device, precision)
            yield time.perf_counter() - start, accuracy

        facts = {
            **self.index,
            "normalize": params.ingest.normalize,
            "max_length": params.ingest.max_length,
            "temperature": temperature or temperature_of(training.model),
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
        "seconds_to_target": next((when for when, hits in curve if hits >= target), None),
        "train_names_per_second": len(contestant.train) * len(curve) / curve[-1][0],
        "predict_names_per_second": len(names) / statistics.median(seconds),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
