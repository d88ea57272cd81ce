"""Checkpoints of a training: atomic and checksummed; the previous one is kept."""

import hashlib
import io
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from stages.core.files import atomic_path

KEEP = 2  # checkpoints: should the last be damaged, there is one before
State = dict[str, Any]  # what `torch.load(weights_only=True)` reads: tensors, numbers, lists, dicts


class Checkpoints:
    """The checkpoints of one training, identified by its fingerprint.

    A file's name holds its place in the training and the SHA-256 of its content: `torch.load`
    notices no flipped bit.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._root = folder
        self._folder = folder / fingerprint

    def save(self, order: int, state: State) -> None:
        """Write a checkpoint that `latest` prefers to all of a lower ``order``."""
        content = io.BytesIO()
        torch.save(state, content)
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        with atomic_path(self._folder / f"{order:020d}-{digest}.pt") as temporary:
            temporary.write_bytes(content.getbuffer())
        killed_while_writing = self._folder.glob(".*.tmp")
        for old in [*self._files()[KEEP:], *killed_while_writing]:
            old.unlink()

    def latest(self) -> State | None:
        """The newest checkpoint that is whole, or None; damaged ones are reported and removed."""
        for path in self._files():
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == path.stem.split("-")[1]:
                return State(torch.load(io.BytesIO(content), "cpu", weights_only=True))
            path.unlink()
            print(f"train: {path} is damaged: removed")
        return None

    def remove(self) -> None:
        """Remove the checkpoints of this training and of all others: they are out of date."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*-*.pt"), reverse=True)


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
