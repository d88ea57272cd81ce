"""What a bundle says beyond its weights: config.json and the arrays of its held-out rows.

Both kinds of bundle have the same two files, and one check of them, since bundles may come from
strangers. Nothing here imports torch, pydantic or safetensors: an exported model answers without.
"""

import json
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np

from stages.core.errors import UserError, brief
from stages.core.files import atomic_path, read_regular, write_json
from stages.core.text import LONGEST, is_label, is_text
from stages.corpus.full_names import SURNAME, kind
from stages.corpus.normalize import script
from stages.corpus.vocabulary import Vocabulary
from stages.serving.held_out import HeldOut, Integers

FORMAT: Final = 6
CONFIG, ARRAYS = "config.json", "held_out.safetensors"
MAX_CONFIG_BYTES, MAX_ARRAYS_BYTES = 2**26, 2**22
MOST_COUNTRIES = 65535  # labels are stored in 16 bits
COLDEST, HOTTEST = 0.01, 100.0  # temperatures; `fit_temperature` finds one from 0.05 to 20
# Kinds of names by `Config.names`. Each has a temperature, and a level in `corpus.set_levels`.
KINDS: Final[dict[str, tuple[Literal["surname", "full"], ...]]] = {
    "surnames": ("surname",),
    "full": ("full",),
    "both": ("surname", "full"),
}


def _is_list(value: Any, is_item: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(is_item, value))


def _are_texts(value: Any, is_item: Callable[[Any], bool] = is_text) -> bool:
    return _is_list(value, is_item) and len(set(value)) == len(value)


def _is_vocabulary(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"case", "scripts", "characters"}
        and value["case"] in ("keep", "fold")
        and _are_texts(value["scripts"])
        # Any character of a name; they are looked up, never printed.
        and isinstance(value["characters"], str)
        and len(set(value["characters"])) == len(value["characters"])
        and {script(c) for c in value["characters"] if c.isalpha()} <= set(value["scripts"])
    )


def _are_groups(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(map(is_label, value))
        and all(_are_texts(members) and len(members) > 1 for members in value.values())
        and _are_texts([country for members in value.values() for country in members])
    )


def _are_facts(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= 100
        and all(isinstance(fact, str | int | float) for fact in value.values())
        and all(map(is_text, [*value, *map(str, value.values())]))
    )


_RULES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "format": (lambda value: value == FORMAT, str(FORMAT)),
    "model": (_are_facts, "short printable texts and numbers"),
    "vocabulary": (
        _is_vocabulary,
        "case, scripts and characters of these scripts, none of them twice",
    ),
    "countries": (
        lambda value: _are_texts(value, is_label) and 1 <= len(value) <= MOST_COUNTRIES,
        f"1 to {MOST_COUNTRIES} different printable texts of at most {LONGEST} characters, "
        "none of which begins as a spreadsheet's formula",
    ),
    "normalize": (lambda value: value in ("nfc", "ascii"), "nfc or ascii"),
    "max_length": (lambda value: type(value) is int and 1 <= value <= 1000, "from 1 to 1000"),
    "names": (lambda value: value in [*KINDS], "surnames, full or both"),
    "groups": (_are_groups, "lists of different countries, each in one list, by printable texts"),
    "temperatures": (
        lambda value: _is_list(value, lambda n: type(n) is float and COLDEST <= n <= HOTTEST),
        f"one number from {COLDEST} to {HOTTEST}, or two if names is both",
    ),
    "training_names": (
        lambda value: _is_list(value, lambda n: type(n) is int and 0 <= n < 2**53),
        "whole numbers",
    ),
    "population": (is_text, f"printable text of at most {LONGEST} characters"),
    "held_out": (lambda value: isinstance(value, bool), f"true if there is a {ARRAYS}, or false"),
    "provenance": (_are_facts, "short printable texts and numbers"),
}


@dataclass(frozen=True)
class Config:
    """Everything about a model but its weights.

    Attributes:
        model: the block ``model`` of params.yaml, the shape of the network.
        vocabulary: the characters that the model tells apart.
        countries: the classes, in the order of the logits.
        normalize: the spelling of names, see `normalise`.
        max_length: the most characters of a name.
        temperatures: the divisor of the logits for each kind of name.
        names: what the training names are; if both, surnames and full names are kinds apart.
        groups: neighbouring countries by the name of their group; a country has at most one.
        training_names: the number of training names of each country; empty if it is not known.
        population: what the training names are a sample of, in words.
        provenance: the machine and packages that made it: for people, not for programs.
        held_out: what is kept of held-out rows; None if there were none.
    """

    model: Mapping[str, Any]
    vocabulary: Vocabulary
    countries: tuple[str, ...]
    normalize: Literal["nfc", "ascii"]
    max_length: int
    temperatures: Sequence[float]
    names: Literal["surnames", "full", "both"] = "surnames"
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    training_names: Sequence[int] = field(default_factory=list)
    population: str = ""
    provenance: Mapping[str, str | int] | None = None
    held_out: HeldOut | None = None

    @staticmethod
    def groups_of(
        countries: Sequence[str], groups: Mapping[str, Sequence[str]]
    ) -> dict[str, list[str]]:
        """The groups without countries that there are not; one needs two countries at least."""
        present = {name: [c for c in members if c in countries] for name, members in groups.items()}
        return {name: members for name, members in present.items() if len(members) > 1}

    @property
    def reads_full_names(self) -> bool:
        """Whether the model is asked full names, not surnames alone."""
        return self.names != "surnames"

    def kinds(self, names: Sequence[str]) -> Integers:
        """(names,) the kind of each normalised name, an index into `KINDS` and ``temperatures``."""
        kinds = map(kind, names) if self.names == "both" else [SURNAME] * len(names)
        return np.fromiter(kinds, dtype=np.uint8, count=len(names))

    def write(self, folder: Path) -> None:
        """Write config.json, and the arrays if there are held-out rows.

        Raises:
            ValueError: a value is not allowed.
        """
        values = {"format": FORMAT, **vars(self), "vocabulary": self.vocabulary.to_config()}
        values |= {"held_out": self.held_out is not None, "provenance": self.provenance or {}}
        values = json.loads(json.dumps(values))
        _check(values)
        (folder / ARRAYS).unlink(missing_ok=True)  # an earlier model's
        if self.held_out:
            from safetensors.numpy import save  # answering needs no such package

            with atomic_path(folder / ARRAYS) as temporary:
                temporary.write_bytes(save(self.held_out.to_arrays()))
        write_json(folder / CONFIG, values)

    def files(self, folder: Path) -> list[Path]:
        """The files in which this is written."""
        return [folder / name for name in (CONFIG, *([ARRAYS] if self.held_out else []))]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and check both files.

        Raises:
            UserError: one is missing, damaged, too large, of another format, or the two disagree.
        """
        path = folder / CONFIG
        try:
            values = json.loads(read_regular(path, MAX_CONFIG_BYTES))
            _check(values)
            del values["format"]
            values["vocabulary"] = Vocabulary.from_config(values["vocabulary"])
            values["countries"] = tuple(values["countries"])
            path, shape = folder / ARRAYS, (len(values["temperatures"]), len(values["countries"]))
            has_rows, values["held_out"] = values["held_out"], None
            if has_rows:
                content = read_regular(path, MAX_ARRAYS_BYTES)
                values["held_out"] = HeldOut.from_bytes(content, *shape)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{path}: {reason}; train a model first (dvc repro)") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: {brief(error, 200)}") from None
        return cls(**values)


def _check(values: Any) -> None:
    """Raise `ValueError` if a key is missing, unknown or has a value that is not allowed."""
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    if values.get("format") != FORMAT:
        number = reprlib.repr(values.get("format"))
        raise ValueError(
            f"format {brief(number, 20)}, but this onoma reads {FORMAT}; run dvc repro"
        )
    for key in sorted(_RULES.keys() ^ values.keys()):
        raise ValueError(f"{brief(key)} is {'missing' if key in _RULES else 'unknown'}")
    for key, (is_allowed, wanted) in _RULES.items():
        if not is_allowed(values[key]):
            raise ValueError(f"{key} must be {wanted}")
    if len(values["temperatures"]) != len(KINDS[values["names"]]):
        raise ValueError(f"temperatures must be {_RULES['temperatures'][1]}")
    if len(values["training_names"]) not in (0, len(values["countries"])):
        raise ValueError("training_names must be one number for each country")
    grouped = {country for members in values["groups"].values() for country in members}
    if not grouped <= set(values["countries"]):
        raise ValueError("groups must have no countries that the model does not have")
