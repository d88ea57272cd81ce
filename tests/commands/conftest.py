"""A model that is there at once: random weights, exported."""

from pathlib import Path

import numpy as np
import pytest

from stages.corpus.vocabulary import Vocabulary
from tests.serving import made

COUNTRIES = ["Austria", "Belgium", "Chad", "Denmark"]


def save_model(folder: Path, **changes: object) -> Path:
    """Write an exported bundle whose answers differ from name to name but mean nothing."""
    vocabulary = Vocabulary(
        "keep", ("CJK", "CYRILLIC", "LATIN"), tuple("ABCDEabcdefghijklmnopqrstuvwxyz'-üИов佐藤")
    )
    random, ones = np.random.default_rng(1), np.ones((2 if "names" in changes else 1, 4))
    # As if rows had been held out: energies like those of random weights, most n-grams known.
    held_out = made.held_out(
        400,
        len(COUNTRIES),
        prior=ones / 4,
        thresholds=ones * [0.1, 0.2, 0.3, 0.05],
        labels=random.integers(len(COUNTRIES), size=400),
        probabilities=random.dirichlet(np.ones(len(COUNTRIES)), size=400),
        scripts=np.full(400, vocabulary.scripts.index("LATIN")),
        measures=np.stack([random.uniform(0.5, 1, 400), random.normal(5, 3, 400)], axis=1),
        ngrams=made.known_ngrams(vocabulary, "Abe", "Müller", "Nguyen", "O'Brien", "Bob", "Cab"),
    )
    values: dict = {
        "model": made.tiny_params(embedding=8, hidden=8, wide_frequent=64).model_dump(),
        "vocabulary": vocabulary,
        "countries": tuple(COUNTRIES),
        "max_length": 40,
        "temperatures": [1.5] * len(ones),
        "held_out": held_out,
    }
    return made.save_onnx(folder, made.config(**(values | changes)), spread=1.0)


@pytest.fixture(scope="session")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "onnx")
