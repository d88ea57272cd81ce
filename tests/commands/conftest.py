"""A model that is there at once: random weights, exported."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.core.params import Params
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.serving.held_out import HeldOut, Letters, NgramSet
from stages.serving import onnx_bundle
from stages.serving.graph import build
from tests.conftest import ROOT

COUNTRIES = ["Austria", "Belgium", "Chad", "Denmark"]


def held_out(vocabulary: Vocabulary) -> HeldOut:
    """As if rows had been held out: energies like those of random weights, most n-grams known."""
    random = np.random.default_rng(1)
    labels = random.integers(len(COUNTRIES), size=400)
    ngrams = NgramSet(Letters(vocabulary))
    ngrams.add(vocabulary.encode(["Abe", "Müller", "Nguyen", "O'Brien", "Bob", "Cab"])[0])
    return HeldOut(
        prior=np.full(len(COUNTRIES), 1 / len(COUNTRIES)),
        thresholds=np.array([0.1, 0.2, 0.3, 0.05]),
        labels=labels,
        probabilities=random.dirichlet(np.ones(len(COUNTRIES)), size=400),
        scripts=np.full(400, vocabulary.scripts.index("LATIN")),
        measures=np.stack([random.uniform(0.5, 1, 400), random.normal(5, 3, 400)], axis=1),
        ngrams=ngrams.bits,
    )


@pytest.fixture(scope="session")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported bundle whose answers differ from name to name but mean nothing."""
    folder = tmp_path_factory.mktemp("model") / "onnx"
    vocabulary = Vocabulary(
        "keep", ("CJK", "CYRILLIC", "LATIN"), tuple("ABCDEabcdefghijklmnopqrstuvwxyz'-üИов佐藤")
    )
    params = Params.load(ROOT / "params.yaml").model.model_copy(
        update={"embedding": 8, "hidden": 8, "wide_buckets": 64}
    )
    torch.manual_seed(1)
    model = Classifier(params, len(vocabulary), len(COUNTRIES)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    onnx_bundle.save(
        folder,
        {
            "vocabulary": vocabulary.to_config(),
            "countries": COUNTRIES,
            "normalize": "nfc",
            "max_length": 40,
            "temperature": 1.5,
            "population": "made-up names",
            "held_out": held_out(vocabulary).to_config(),
        },
        build(
            params, {name: value.numpy() for name, value in model.state_dict().items()}
        ).SerializeToString(),
    )
    return folder
