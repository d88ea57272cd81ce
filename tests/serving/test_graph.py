"""The ONNX graph computes what the torch classifier computes, for any batch and length."""

import numpy as np
import onnxruntime
import pytest
import torch

from stages.core.params import ModelParams
from stages.model.classifier import Classifier
from stages.serving.wide_graph import quantised
from stages.training.features import choose_features
from tests.serving.made import classifier, config, graph, names_of, tiny_params


def agree(model: Classifier, params: ModelParams, codes: torch.Tensor) -> None:
    if model.wide:  # as the graph rounds them, so that nothing else may differ
        for table, shape in ((model.wide.frequent, (-1, 3)), (model.wide.rare, (1, -1))):
            weights = table.weight.detach().numpy()
            whole, scales = quantised(weights.reshape(shape))
            rounded = (whole * np.float32(scales[:, None])).reshape(weights.shape)
            table.weight.data = torch.from_numpy(rounded)
    session = onnxruntime.InferenceSession(graph(model, params))
    with torch.no_grad():
        expected = model(codes).numpy()
    logits = session.run(None, {"codes": codes.numpy()})[0]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=2e-5)


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
    params = tiny_params(cell=cell, **shape)
    model = classifier(config(model=params.model_dump()))
    for batch, length in [(1, 3), (4, 4), (3, 8), (2, 40)]:
        agree(model, params, torch.randint(model.characters.num_embeddings, (batch, length)))


@pytest.mark.parametrize("turns", [1, -1])
def test_names_that_begin_alike_give_torchs_logits(turns: int) -> None:
    params = tiny_params(wide_ngrams=0)
    codes = torch.randint(3, 5, (64, 7), generator=torch.Generator().manual_seed(1)).tolist()
    codes = torch.tensor(sorted(codes) + codes[::turns])
    agree(classifier(config(model=params.model_dump())), params, codes)


def test_largest_codes_hash_as_in_torch() -> None:
    params = tiny_params(wide_ngrams=6)
    model = classifier(config(model=params.model_dump()))
    big = 1_114_000  # as many codes as there are characters
    model.characters = torch.nn.Embedding(big, params.embedding)
    codes = torch.randint(big - 1000, big, (8, 9))
    choose_features(model.wide, names_of(codes.numpy(), 3))
    agree(model, params, codes)


def test_the_table_is_rounded_by_half_a_step_of_its_row_at_most() -> None:
    table = np.array([[1.27, -0.504, 0.0], [0.0] * 3, [-3e-4, 0.0, 1e-4], [3e-9, 0.0, 0.0]], "f")
    whole, _ = quantised(table)
    assert whole.tolist() == [[127, -50, 0], [0, 0, 0], [-126, 0, 42], [0, 0, 0]]
