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
_TYPES = {torch.float32: "F32", torch.int64: "I64"}


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
    """Read a bundle, from whoever it came: sizes are compared before memory is taken.

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
        model = Classifier(shape, len(config.vocabulary), len(config.countries))
    expected = {name: (list(t.shape), _TYPES[t.dtype]) for name, t in model.state_dict().items()}
    try:
        check_regular(path, MAX_WEIGHTS_BYTES)
        with safetensors.safe_open(path, framework="pt") as file:
            present = {
                name: (file.get_slice(name).get_shape(), file.get_slice(name).get_dtype())
                for name in file.keys()  # noqa: SIM118
            }
        for name in sorted(expected.keys() | present.keys()):
            if expected.get(name) != present.get(name):
                raise UserError(
                    f"{path}: {brief(name)} is {brief(present.get(name, 'missing'))}, "
                    f"but config.json calls for {brief(expected.get(name, 'no such tensor'))}"
                )
        model.load_state_dict(load_file(path, device=str(device)), assign=True)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: damaged: {brief(error)}") from None
    return model.eval(), config


@torch.no_grad()
def forward(model: Classifier, codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """(batch, countries) logits of names of one length: (batch, length) codes."""
    device = model.logits.weight.device
    return np.asarray(model(torch.from_numpy(codes).to(device)).float().cpu().numpy())
