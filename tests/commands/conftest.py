"""A model that is there at once: random weights, exported."""

from pathlib import Path

import pytest
import torch

from stages.core.params import Params
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.serving import onnx_bundle
from stages.serving.onnx_graph import build
from tests.conftest import ROOT

COUNTRIES = ["Austria", "Belgium", "Chad", "Denmark"]


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
        },
        build(
            params, {name: value.numpy() for name, value in model.state_dict().items()}
        ).SerializeToString(),
    )
    return folder
