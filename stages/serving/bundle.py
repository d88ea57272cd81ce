"""Loading a trained model: by ONNX Runtime if the folder holds an exported one, else by torch."""

from functools import partial
from pathlib import Path

from stages.serving import onnx_bundle
from stages.serving.predictor import Predictor

PACKAGED = Path(__file__).parents[1] / "pretrained"  # in a wheel, see setup.py
DEFAULT = PACKAGED if PACKAGED.is_dir() else Path("data/onnx")


def load(folder: str | Path | None = None, threads: int = 1, device: str = "cpu") -> Predictor:
    """Read a trained model.

    Args:
        folder: ``data/onnx``, which needs no torch, or ``data/model``; by default the model of
            the installed wheel, else ``data/onnx``.
        threads: batches computed at a time.
        device: the device of a torch model.

    Raises:
        UserError: the folder holds no model, or its parts disagree.
    """
    folder = Path(DEFAULT if folder is None else folder)
    if (folder / onnx_bundle.MODEL).exists() or not (folder / "model.safetensors").exists():
        predictor = onnx_bundle.load(folder, threads)
    else:
        import torch  # an exported model answers without it

        from stages.serving.torch_bundle import WEIGHTS, forward, load_model

        model, config = load_model(folder, torch.device(device))
        files = [*config.files(folder), folder / WEIGHTS]
        predictor = Predictor(partial(forward, model), config, threads, files)
    predictor.reload = partial(load, folder.absolute(), threads, device)
    return predictor
