"""Small models for tests, with random weights and made-up held-out rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from stages.core.errors import UserError
from stages.core.params import ModelParams, Params
from stages.corpus.dataset import Names
from stages.corpus.vocabulary import END, Vocabulary
from stages.model.classifier import Classifier
from stages.serving import onnx_bundle
from stages.serving.config import Config
from stages.serving.graph import build
from stages.serving.held_out import HeldOut, Letters
from stages.training.features import choose_features
from tests.conftest import ROOT

VOCABULARY = Vocabulary("keep", ("CJK", "LATIN"), tuple("abcdeü佐藤"))
TINY = {"embedding": 4, "hidden": 4, "wide_frequent": 50, "wide_rare": 100}


def tiny_params(**changes: object) -> ModelParams:
    """The shipped params of the model with few weights."""
    return Params.load(ROOT / "params.yaml").model.model_copy(update=TINY | changes)


def config(**changes: object) -> Config:
    """The config of a tiny model of three countries."""
    values: dict = {
        "model": tiny_params().model_dump(),
        "vocabulary": VOCABULARY,
        "countries": ("Austria", "日本", "Кирилия"),
        "normalize": "nfc",
        "max_length": 20,
        "temperatures": [1.5],
        "population": "made-up names",
        "provenance": {"torch": "2", "threads": 1},
    }
    return Config(**(values | changes))


def held_out(rows: int = 5, countries: int = 3, **changes: object) -> HeldOut:
    """Rows as if they had been held out: no two arrays are alike."""
    random = np.random.default_rng(1)
    values: dict = {
        "prior": np.full((1, countries), 1 / countries),
        "thresholds": np.linspace(0.1, 0.3, countries)[None],
        "labels": np.arange(rows) % countries,
        "kinds": np.zeros(rows, int),
        "probabilities": random.dirichlet(np.ones(countries), size=rows),
        "scripts": np.arange(rows),
        "measures": random.normal(size=(rows, 2)).astype(np.float32),
        "ngrams": random.integers(0, 256, 2**17).astype(np.uint8),
    }
    return HeldOut(**(values | changes))


def classifier(config: Config, spread: float = 0.5) -> Classifier:
    """A classifier with random weights everywhere, also where training starts from 0."""
    torch.manual_seed(1)
    params = ModelParams.model_construct(**config.model)  # also what params.yaml may not say
    model = Classifier(
        params, len(config.vocabulary), len(config.countries), config.vocabulary.blank
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    if model.wide:
        codes = np.random.default_rng(1).integers(len(config.vocabulary), size=(400, 8))
        choose_features(model.wide, names_of(codes, len(config.countries)))
    return model


def names_of(codes: np.ndarray, countries: int) -> Names:
    """Names of one length, of each country in turn."""
    count, length = codes.shape
    offsets, labels = np.arange(count + 1) * length, np.arange(count) % countries
    return Names(codes.flatten(), offsets, labels, np.ones(count, bool))


def graph(model: Classifier, params: ModelParams) -> bytes:
    """The classifier in ONNX."""
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    blank = model.wide.blank if model.wide else END
    return bytes(build(params, weights, blank).SerializeToString(deterministic=True))


def save_onnx(folder: Path, config: Config, spread: float = 0.5) -> Path:
    """Write the exported bundle of a classifier with random weights."""
    params = ModelParams(**config.model)
    onnx_bundle.save(folder, config, graph(classifier(config, spread), params))
    return folder


def refusal(read: Callable[[Path], object], folder: Path) -> str:
    """What is said of a folder that cannot be read: one short line."""
    with pytest.raises(UserError) as caught:
        read(folder)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    return str(caught.value).replace(str(folder), "model")


def known_ngrams(vocabulary: Vocabulary, *names: str) -> np.ndarray:
    """Bits of the n-grams of names."""
    letters = Letters(vocabulary)
    letters.add(vocabulary.encode(names)[0])
    return letters.ngrams


COUNTRIES = ("Austria", "Belgium", "Chad", "Denmark")


def save_model(folder: Path, **changes: object) -> Path:
    """Write an exported bundle whose answers differ from name to name but mean nothing."""
    vocabulary = Vocabulary(
        "keep", ("CJK", "CYRILLIC", "LATIN"), tuple("ABCDEabcdefghijklmnopqrstuvwxyz'-üИов佐藤")
    )
    random, ones = np.random.default_rng(1), np.ones((2 if "names" in changes else 1, 4))
    # As if rows had been held out: energies like those of random weights, most n-grams known.
    rows = held_out(
        400,
        4,
        prior=ones / 4,
        thresholds=ones * [0.1, 0.2, 0.3, 0.05],
        labels=random.integers(4, size=400),
        probabilities=random.dirichlet(np.ones(4), size=400),
        scripts=np.full(400, vocabulary.scripts.index("LATIN")),
        measures=np.stack([random.uniform(0.5, 1, 400), random.normal(5, 3, 400)], axis=1),
        ngrams=known_ngrams(vocabulary, "Abe", "Müller", "Nguyen", "O'Brien", "Bob", "Cab"),
    )
    values: dict = {
        "model": tiny_params(embedding=8, hidden=8, wide_frequent=64).model_dump(),
        "vocabulary": vocabulary,
        "countries": COUNTRIES,
        "max_length": 40,
        "temperatures": [1.5] * len(ones),
        "held_out": rows,
    }
    return save_onnx(folder, config(**(values | changes)), spread=1.0)


PRIOR = np.array([0.5, 0.3, 0.15, 0.05])
# Names are points around their country's mean: Bayes' rule then gives exact probabilities.
MEANS = 2.0 * np.eye(len(PRIOR))


def population(shares: np.ndarray, names: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that hold under `PRIOR`, and the true countries, of names with these shares."""
    random = np.random.default_rng(seed)
    labels = random.choice(len(PRIOR), names, p=shares)
    points = MEANS[labels] + random.normal(size=(names, len(PRIOR)))
    distances = ((points[:, None] - MEANS) ** 2).sum(axis=2)
    return softmax(np.log(PRIOR) - distances / 2, axis=1), labels


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Total variation."""
    return float(np.abs(one - other).sum() / 2)
