"""params.yaml as typed, strict blocks: an unknown key or an impossible value stops before any work.

The meaning, unit and allowed values of each key stand beside it in params.yaml.
"""

import reprlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from stages.core.errors import UserError, brief, exit_code, uncapitalised
from stages.core.text import extends_ascii, is_label, is_separator, is_text
from stages.core.yaml_file import read_yaml

Cell = Literal["gru", "lstm", "rnn"]
Share = Annotated[float, Field(ge=0, lt=1)]
UpToOne = Annotated[float, Field(ge=0, le=1)]
Margin = Annotated[float, Field(ge=-1, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Level = Annotated[float, Field(ge=0.5, lt=1)]
Half = Annotated[float, Field(ge=0, le=0.5)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
UpToEight = Annotated[int, Field(ge=1, le=8)]
NotEmpty = Annotated[str, Field(min_length=1)]
Processes = Annotated[int, Field(ge=1, le=1024)]
Width = Annotated[int, Field(ge=1, le=2**12)]
# Limit of hidden² x layers: LSTMs of both directions, with gradients and moments, have 13 GB.
MOST_RECURRENT = 2**25
Word = Annotated[str, Field(min_length=1, max_length=1000)]


def _are_disjoint(groups: dict[str, list[str]]) -> bool:
    labels = [label for members in groups.values() for label in members]
    return len(set(labels)) == len(labels)


def _checked(accepts: Callable[[Any], bool], message: str) -> AfterValidator:
    def check(value: Any) -> Any:
        if not accepts(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def _fit_in_memory(layers: int, info: ValidationInfo) -> int:
    hidden = info.data.get("hidden", 1)  # absent if it was refused itself
    most = MOST_RECURRENT // hidden**2
    if layers > most:
        raise ValueError(f"should be at most {most} with model.hidden {hidden}, for want of memory")
    return layers


def _as_long_as_input(target: str, info: ValidationInfo) -> str:
    word = info.data.get("input", target)  # absent if it was refused itself
    if len(target) != len(word):
        raise ValueError(f"should be as long as hello.input ({len(word)} characters)")
    return target


Label = Annotated[str, _checked(is_label, "should be short printable text, no formula")]
IN_PEOPLE = "should be the name of a file in data/raw/people"
FileName = Annotated[NotEmpty, _checked(lambda text: "/" not in text, IN_PEOPLE)]


class Block(BaseModel):
    """Base of every block: no unknown keys, no silent conversions, no NaN, no changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class CorpusParams(Block):
    """What the corpus is."""

    description: Annotated[Word, _checked(is_text, "should be printable text")]
    names: Literal["surnames", "full", "both"]
    groups: Annotated[
        dict[Label, list[str]], _checked(_are_disjoint, "should have each country in one group")
    ]
    set_levels: Annotated[
        dict[Literal["surname", "full"], Level],
        _checked(lambda levels: len(levels) == 2, "should have surname and full"),
    ]


class Columns(Block):
    """Which columns of a file hold the name and the country."""

    name: NotEmpty
    country: NotEmpty


class IngestParams(Block):
    """What is read, and what is refused."""

    train: NotEmpty
    test: NotEmpty
    header: Literal["auto", "yes", "no"]
    columns: Columns | None
    separator: Annotated[
        str, _checked(is_separator, "should be one ASCII symbol, a blank or a tab, no quote")
    ]
    encoding: Annotated[str, _checked(extends_ascii, "should be an encoding that extends ASCII")]
    normalize: Literal["nfc", "ascii"]
    max_length: Annotated[int, Field(ge=1, le=1000)]
    max_row_bytes: Annotated[int, Field(ge=64, le=2**26)]
    max_rejected: Annotated[int, Field(ge=0)]
    processes: Processes
    cluster: NotEmpty | None


class IndexParams(Block):
    """Which characters are told apart, and what is held out for tuning."""

    case: Literal["keep", "fold"]
    min_count: Count
    validation: Half
    calibration: Half
    seed: Seed


class ModelParams(Block):
    """The shape of the classifier."""

    cell: Cell
    embedding: Width
    hidden: Width
    layers: Annotated[UpToEight, AfterValidator(_fit_in_memory)]
    bidirectional: bool
    dropout: Share
    character_dropout: Share
    wide_ngrams: Annotated[int, Field(ge=0, le=6)]
    wide_frequent: Annotated[int, Field(ge=1, le=2**24)]
    wide_rare: Annotated[int, Field(ge=0, le=2**24)]
    wide_words: Annotated[float, Field(ge=0, le=10)]


class TrainParams(Block):
    """How it is trained, and on what."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    precision: Literal["auto", "float32", "bfloat16"]
    arithmetic: Literal["portable", "avx2", "native"]
    processes: Processes
    threads: Annotated[int, Field(ge=1, le=1024)]
    seed: Seed
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    wide_rate: Positive
    wide_accumulator: Annotated[float, Field(ge=0)]
    schedule: Literal["constant", "one_cycle"]
    weight_decay: Annotated[float, Field(ge=0)]
    label_smoothing: Share
    logit_adjustment: UpToOne
    checkpoint_minutes: Positive


class EvaluateParams(Block):
    """How it is scored."""

    batch_size: Count
    ece_bins: Annotated[int, Field(ge=1, le=10_000)]
    people: FileName | list[FileName] | None


class BaselineParams(Block):
    """The linear SVM that it has to beat."""

    ngrams: UpToEight
    class_weight: Literal["balanced"] | None
    regularisation: Positive
    seed: Seed


class HelloParams(Block):
    """The first lessons: one word to read, one to write."""

    input: Word
    target: Annotated[Word, AfterValidator(_as_long_as_input)]
    cell: Cell
    embedding: Annotated[int, Field(ge=1, le=2**10)]
    hidden: Annotated[int, Field(ge=1, le=2**10)]
    layers: UpToEight
    stepped_rate: Rate
    sequence_rate: Rate
    embedded_rate: Rate
    epochs: Count
    seed: Seed


class GateParams(Block):
    """What a newly trained model must show before it replaces the one in use."""

    confidence: Annotated[float, Field(ge=0.5, lt=1)]
    resamples: Annotated[int, Field(ge=100, le=10**6)]
    seed: Seed
    accuracy_margin: Margin
    macro_f1_margin: Margin
    baseline_margin: Margin
    floor_support: Count
    floor_f1: UpToOne
    floor_drop: UpToOne
    floor_coverage: UpToOne


class Params(Block):
    """All of params.yaml."""

    corpus: CorpusParams
    ingest: IngestParams
    index: IndexParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    baseline: BaselineParams
    hello: HelloParams
    gate: GateParams

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check ``path``.

        Raises:
            UserError: the file cannot be read, or a key or value in it is not allowed.
        """
        return cls.check(read_yaml(path), path)

    @classmethod
    def check(cls, values: Any, path: Path) -> Self:
        """Check the values of ``path``.

        Raises:
            UserError: a key or value is not allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "the file"
            reasons = {"extra_forbidden": "no such key", "missing": "the key is missing"}
            value = brief(reprlib.repr(first["input"]), 60)
            message = uncapitalised(first["msg"].removeprefix("Value error, "))
            reason = reasons.get(first["type"], f"{message}, not {value}")
            raise UserError(f"{path}: {brief(key)}: {reason}") from None


def main() -> None:
    """Check params.yaml: DVC removes the outputs of a stage before the stage reads it."""
    Params.load(Path("params.yaml"))


if __name__ == "__main__":
    sys.exit(exit_code(main))
