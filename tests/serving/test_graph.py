"""The ONNX graph computes what the torch classifier computes, for any batch and length."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from stages.core.params import ModelParams, Params
from stages.model.classifier import Classifier
from stages.serving.graph import OPSET, build

ROOT = Path(__file__).parents[2]
CODES, COUNTRIES = 40, 5
SMALL = {"embedding": 6, "hidden": 7, "wide_buckets": 50}


def classifier(**changes: object) -> tuple[Classifier, ModelParams]:
    """A classifier with random weights everywhere, also where training starts from 0."""
    params = Params.load(ROOT / "params.yaml").model.model_copy(update=SMALL | changes)
    torch.manual_seed(1)
    model = Classifier(params, CODES, COUNTRIES).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model, params


def exported(model: Classifier, params: ModelParams) -> bytes:
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    return bytes(build(params, weights).SerializeToString(deterministic=True))


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize(
    "shape",
    [
        {"bidirectional": True, "layers": 2, "wide_ngrams": 4},
        {"bidirectional": False, "layers": 1, "wide_ngrams": 0},
        {"bidirectional": False, "layers": 3, "wide_ngrams": 1},
        {"bidirectional": True, "layers": 1, "wide_ngrams": 6},
    ],
)
def test_every_kind_of_classifier_gives_torchs_logits(cell: str, shape: dict[str, object]) -> None:
    model, params = classifier(cell=cell, **shape)
    session = onnxruntime.InferenceSession(exported(model, params))
    for batch, length in [(1, 3), (4, 4), (3, 8), (2, 40)]:
        codes = torch.randint(CODES, (batch, length))
        with torch.no_grad():
            wanted = model(codes).numpy()
        found = session.run(None, {"codes": codes.numpy()})[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)


def test_largest_codes_hash_as_in_torch() -> None:
    model, params = classifier(wide_ngrams=6)
    big = 1_114_000  # as many codes as there are characters
    model.characters = torch.nn.Embedding(big, params.embedding)
    session = onnxruntime.InferenceSession(exported(model, params))
    codes = torch.randint(big - 1000, big, (8, 9))
    with torch.no_grad():
        wanted = model(codes).numpy()
    found = session.run(None, {"codes": codes.numpy()})[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)


def test_same_weights_give_the_same_bytes() -> None:
    assert exported(*classifier()) == exported(*classifier())


def test_opset_is_the_installed_onnx_packages_own() -> None:
    import onnx

    assert onnx.defs.onnx_opset_version() == OPSET
