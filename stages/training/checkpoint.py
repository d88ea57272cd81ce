"""Checkpoints that survive a crash: atomic, checksummed, the previous one kept.

A checkpoint is one safetensors file, with JSON in its header. Its name holds its place in the
training and the SHA-256 of its content, so damage is noticed and no second file can disagree.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load, save
from torch import Tensor

from stages.core.files import atomic_path

KEEP = 2


@dataclass(frozen=True)
class State:
    """Everything that decides how a training goes on."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]  # plain JSON values


class Checkpoints:
    """The checkpoints of one training, identified by its fingerprint."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._root = folder
        self._folder = folder / fingerprint

    def save(self, order: int, state: State) -> None:
        """Write a checkpoint that `latest` prefers to all of a lower ``order``."""
        content = save(dict(state.tensors), {"facts": json.dumps(state.facts, allow_nan=False)})
        digest = hashlib.sha256(content).hexdigest()
        with atomic_path(self._folder / f"{order:020d}-{digest}.safetensors") as temporary:
            temporary.write_bytes(content)
        killed_while_writing = self._folder.glob(".*.safetensors.*")
        for old in [*self._files()[KEEP:], *killed_while_writing]:
            old.unlink()

    def latest(self, on_damaged: Callable[[Path], object]) -> State | None:
        """The newest checkpoint that is whole, or None.

        Args:
            on_damaged: called with each newer one, which is removed.
        """
        for path in self._files():
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == path.stem.split("-")[1]:
                with safetensors.safe_open(path, framework="pt") as file:
                    facts = json.loads(file.metadata()["facts"])
                return State(load(content), facts)
            path.unlink()
            on_damaged(path)
        return None

    def remove(self) -> None:
        """Remove the checkpoints of this training and of all others: they are out of date."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*-*.safetensors"), reverse=True)


def loaded_code() -> list[Path]:
    """Files of this project's modules that are imported, the stage's own included."""
    modules = [module for name, module in sys.modules.items() if name.startswith("stages.")]
    paths = [Path(module.__file__) for module in modules if module.__file__]
    return [*paths, Path(sys.modules["__main__"].__file__ or "")]


def fingerprint(texts: Iterable[str], files: Iterable[Path]) -> str:
    """SHA-256 over what decides a result: texts (params, versions) and files (code, data)."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)}:{text}".encode())
    for path in sorted(files):
        with path.open("rb") as file:
            digest.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()[:32]
