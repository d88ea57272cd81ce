"""The trained model as a folder: config.json and model.safetensors, nothing that can run code."""

import json
import reprlib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import safetensors
import torch
from pydantic import Field, ValidationError, model_validator
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch.overrides import TorchFunctionMode

from stages.core.errors import UserError, brief, uncapitalised
from stages.core.files import atomic_path, check_regular, read_regular, write_json
from stages.core.params import Block, ModelParams
from stages.core.text import is_text
from stages.corpus.vocabulary import Vocabulary
from stages.serving import config as facts
from stages.model.classifier import Classifier

FORMAT: Final = 2
MAX_WEIGHTS_BYTES = 2**33


class VocabularyConfig(Block):
    """`Vocabulary.to_config`."""

    case: Literal["keep", "fold"]
    scripts: list[str]
    characters: str


class Config(Block):
    """config.json: everything about the model but its weights."""

    format: Literal[2] = 2
    model: ModelParams
    vocabulary: VocabularyConfig
    countries: list[str]
    normalize: Literal["nfc", "ascii"]
    max_length: int
    temperature: float
    # What the training names are a sample of, in words.
    population: str = ""
    # `HeldOut.to_config`; None if no rows were held out.
    held_out: dict[str, str] | None = None
    # Where it was made: for people, not for programs.
    provenance: Annotated[dict[str, str | int], Field(max_length=100)]

    @model_validator(mode="after")
    def _is_allowed(self) -> "Config":
        facts.check(self.model_dump(include={*facts.FACTS}))
        if not all(map(is_text, [*self.provenance, *map(str, self.provenance.values())])):
            raise ValueError("provenance must be short printable texts")
        return self


def save(folder: Path, config: Config, model: Classifier) -> None:
    """Write the bundle; the weights are named as in the model's state dict."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    with atomic_path(folder / "model.safetensors") as temporary:
        temporary.write_bytes(serialise(tensors))
    write_json(folder / "config.json", config.model_dump())


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
    config = load_config(folder / "config.json")
    vocabulary = Vocabulary.from_config(config.vocabulary.model_dump())
    with torch.device("meta"), NoDraws():  # shapes without memory
        model = Classifier(config.model, len(vocabulary), len(config.countries))
    path = folder / "model.safetensors"
    expected = {name: (list(t.shape), _TYPES[t.dtype]) for name, t in model.state_dict().items()}
    try:
        check_regular(path, MAX_WEIGHTS_BYTES)
        with safetensors.safe_open(path, framework="pt") as file:
            found = {
                name: (file.get_slice(name).get_shape(), file.get_slice(name).get_dtype())
                for name in file.keys()  # noqa: SIM118
            }
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise UserError(
                    f"{path}: {brief(name)} is {brief(found.get(name, 'missing'))}, "
                    f"but config.json calls for {brief(expected.get(name, 'no such tensor'))}"
                )
        model.load_state_dict(load_file(path, device=str(device)), assign=True)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: damaged: {brief(error)}") from None
    return model.eval(), config


_TYPES = {torch.float32: "F32", torch.int64: "I64"}


def load_config(path: Path) -> Config:
    """Read and check config.json.

    Raises:
        UserError: it is missing, too large, no JSON, of another format, or has unknown keys.
    """
    try:
        raw = json.loads(read_regular(path, facts.MAX_CONFIG_BYTES))
        if isinstance(raw, dict) and raw.get("format") != FORMAT:
            found = brief(reprlib.repr(raw.get("format")), 20)
            raise UserError(
                f"{path}: format {found}, but this onoma reads {FORMAT}; run dvc repro train"
            )
        return Config.model_validate(raw)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; train a model first (dvc repro)") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = brief(uncapitalised(first["msg"].removeprefix("Value error, ")), 200)
        raise UserError(f"{path}: {brief(key)}{': ' if key else ''}{reason}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged: {brief(error)}") from None
