"""The trained bundle, ready to predict by torch.

from stages.serving.bundle import load
model = load("data/model")
model.predict(["Müller", "Иванов"])
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from stages.corpus.vocabulary import Vocabulary
from stages.model.bundle import load_model
from stages.serving.predictor import Predictor


def load(folder: str | Path, device: str = "cpu") -> Predictor:
    """Read a bundle and make it ready to predict.

    Raises:
        UserError: see `load_model`.
    """
    place = torch.device(device)
    model, config = load_model(Path(folder), place)

    @torch.no_grad()
    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model(torch.from_numpy(codes).to(place)).float().cpu().numpy()
        return found

    return Predictor(
        logits,
        Vocabulary.from_config(config.vocabulary.model_dump()),
        config.countries,
        {"normalize": config.normalize, "max_length": config.max_length},
        config.temperature,
    )
