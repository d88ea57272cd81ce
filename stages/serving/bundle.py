"""Loading a trained model: by ONNX Runtime if the folder holds an exported one, else by torch."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.serving import onnx_bundle
from stages.serving.predictor import Predictor

WEIGHTS = "model.safetensors"


def load(folder: str | Path, threads: int = 1, device: str = "cpu") -> Predictor:
    """Read a bundle: ``data/onnx`` (needs no torch) or ``data/model``.

    Args:
        folder: config.json beside model.onnx or model.safetensors.
        threads: batches computed at a time.
        device: of a torch bundle.

    Raises:
        UserError: the folder holds no bundle, or its parts disagree.
    """
    folder = Path(folder)
    weights = folder / WEIGHTS
    if weights.exists() and not (folder / onnx_bundle.MODEL).exists():
        return _load_torch(folder, threads, device)
    return onnx_bundle.load(folder, threads)


def _load_torch(folder: Path, threads: int, device: str) -> Predictor:
    import torch  # imported here: an exported model answers without it

    from stages.serving.torch_bundle import load_model

    model, config = load_model(folder, torch.device(device))

    @torch.no_grad()
    def logits(codes: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(model(torch.from_numpy(codes).to(device)).float().cpu().numpy())

    return Predictor(
        logits, config.model_dump(), threads, [folder / "config.json", folder / WEIGHTS]
    )
