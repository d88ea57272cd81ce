"""Loading a trained model: by ONNX Runtime if the folder holds an exported one, else by torch."""

from functools import partial
from pathlib import Path

from stages.serving import onnx_bundle
from stages.serving.predictor import Predictor


def load(folder: str | Path, threads: int = 1, device: str = "cpu") -> Predictor:
    """Read a bundle: ``data/onnx`` (needs no torch) or ``data/model``.

    Args:
        folder: the bundle, config.json with model.onnx or model.safetensors.
        threads: batches computed at a time.
        device: the device of a torch bundle.

    Raises:
        UserError: the folder holds no bundle, or its parts disagree.
    """
    folder = Path(folder)
    if (folder / onnx_bundle.MODEL).exists() or not (folder / "model.safetensors").exists():
        return onnx_bundle.load(folder, threads)
    import torch  # an exported model answers without it

    from stages.serving.torch_bundle import WEIGHTS, forward, load_model

    model, config = load_model(folder, torch.device(device))
    return Predictor(
        partial(forward, model), config, threads, [*config.files(folder), folder / WEIGHTS]
    )
