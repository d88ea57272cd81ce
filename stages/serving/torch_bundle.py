"""The trained model as a folder: `Config`'s files and model.safetensors; none can run code."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch.overrides import TorchFunctionMode

from stages.core.errors import UserError, brief, uncapitalised
from stages.core.files import atomic_path, check_regular
from stages.core.params import ModelParams
from stages.model.classifier import Classifier
from stages.serving.config import CONFIG, Config

WEIGHTS = "model.safetensors"
MAX_WEIGHTS_BYTES = 2**33


def save(folder: Path, config: Config, model: Classifier) -> None:
    """Write the bundle; the weights are named as in the model's state dict."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    with atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(serialise(tensors))
    config.write(folder)


class NoDraws(TorchFunctionMode):
    """Leave out normal draws, which on the meta device import torch._dynamo: 2 s for nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, unless it is `torch.nn.init.normal_`."""
        return None if func is torch.nn.init.normal_ else func(*args, **(kwargs or {}))


def load_model(folder: Path, device: torch.device) -> tuple[Classifier, Config]:
    """Read a bundle from any source; it takes no more memory than its file is large.

    Raises:
        UserError: the folder holds no bundle, another format's, or one whose parts disagree.
    """
    config, path = Config.read(folder), folder / WEIGHTS
    try:
        shape = ModelParams.model_validate(config.model)
    except ValidationError as error:
        first = error.errors()[0]
        key = brief(".".join(map(str, ("model", *first["loc"]))))
        raise UserError(f"{folder / CONFIG}: {key}: {uncapitalised(first['msg'])}") from None
    with torch.device("meta"), NoDraws():  # shapes without memory
        codes = config.vocabulary
        model = Classifier(shape, len(codes), len(config.countries), codes.blank)
    try:
        check_regular(path, MAX_WEIGHTS_BYTES)
        tensors = load_file(path, device=str(device))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: damaged: {brief(error)}") from None
    stored, expected = (
        {name: f"{list(tensor.shape)} {tensor.dtype}" for name, tensor in each.items()}
        for each in (tensors, model.state_dict())
    )
    for name in sorted(expected.keys() | stored.keys()):
        own, wanted = stored.get(name, "missing"), expected.get(name, "no such tensor")
        if own != wanted:
            raise UserError(
                f"{path}: {brief(name)} is {brief(own)}, but config.json calls for {wanted}"
            )
    model.load_state_dict(tensors, assign=True)
    if model.wide and not model.wide.has_countries():
        raise UserError(f"{path}: wide.rare_countries are not the countries of config.json")
    return model.eval(), config


@torch.no_grad()
def forward(model: Classifier, codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """(batch, countries) logits of names of one length: (batch, length) codes."""
    device = model.logits.weight.device
    return np.asarray(model(torch.from_numpy(codes).to(device)).float().cpu().numpy())
