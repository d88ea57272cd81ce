"""The vocabulary: characters as codes, with a defined place for those never seen in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from stages.corpus.normalize import script

BEGIN, END, UNKNOWN = 0, 1, 2  # the marks around each name, and a character of no known script
UNICODE = 0x110000


def codepoints(text: str) -> NDArray[np.uint32]:
    """Unicode code points of ``text``, one per character."""
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


@dataclass(frozen=True)
class Vocabulary:
    """Codes: begin, end, unknown; then one fallback per script; then the known characters."""

    case: Literal["keep", "fold"]
    scripts: tuple[str, ...]
    characters: tuple[str, ...]

    @classmethod
    def from_counts(
        cls, counts: NDArray[np.int64], case: Literal["keep", "fold"], min_count: int
    ) -> Self:
        """Build from ``counts[codepoint]`` over the training names.

        Characters seen less than ``min_count`` times share their script's fallback, which is
        how the fallback is trained at all.
        """
        seen: dict[str, int] = {}
        for point in np.flatnonzero(counts):
            character = _folded(chr(point)) if case == "fold" else chr(point)
            seen[character] = seen.get(character, 0) + int(counts[point])
        scripts = sorted({script(character) for character in seen})
        frequent = sorted(character for character, count in seen.items() if count >= min_count)
        return cls(case, tuple(scripts), tuple(frequent))

    def __len__(self) -> int:
        return UNKNOWN + 1 + len(self.scripts) + len(self.characters)

    @cached_property
    def _codes(self) -> Mapping[str, int]:
        first = UNKNOWN + 1 + len(self.scripts)
        return {character: first + n for n, character in enumerate(self.characters)}

    @cached_property
    def _fallbacks(self) -> Mapping[str, int]:
        return {name: UNKNOWN + 1 + n for n, name in enumerate(self.scripts)}

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        """Code of each code point; -1 where it has not been looked up yet."""
        return np.full(UNICODE, -1, dtype=np.int32)

    @property
    def dtype(self) -> type[np.uint16] | type[np.uint32]:
        """The smallest type that holds every code."""
        return np.uint16 if len(self) <= 2**16 else np.uint32

    @property
    def blank(self) -> int:
        """Code of the blank between words; `END`, which stands in no name, if none is known."""
        return self._codes.get(" ", END)

    def code(self, character: str) -> int:
        """Code of one character: its own, its script's fallback, or `UNKNOWN`."""
        key = _folded(character) if self.case == "fold" else character
        return self._codes.get(key, self._fallbacks.get(script(key), UNKNOWN))

    def encode(self, names: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Flat codes of all names, marks included, and where each name begins.

        Returns:
            codes: (sum of lengths + 2 per name,), of `dtype`.
            offsets: (len(names) + 1,); name i is ``codes[offsets[i]:offsets[i + 1]]``.
        """
        lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths + 2, out=offsets[1:])
        codes = np.empty(offsets[-1], dtype=self.dtype)
        inner = np.ones(offsets[-1], dtype=bool)
        inner[offsets[:-1]] = inner[offsets[1:] - 1] = False
        codes[offsets[:-1]], codes[offsets[1:] - 1] = BEGIN, END
        codes[inner] = self._look_up(codepoints("".join(names)))
        return codes, offsets

    def decode(self, codes: NDArray[np.integer[Any]], offsets: NDArray[np.int64]) -> list[str]:
        """Undo `encode`, as far as it goes: rare characters, which share a code, become U+FFFD."""
        first = len(self) - len(self.characters)
        characters = np.array(["", "", *["\ufffd"] * (first - 2), *self.characters])
        letters = characters[np.asarray(codes)]
        return ["".join(letters[start:end]) for start, end in pairwise(offsets.tolist())]

    def _look_up(self, points: NDArray[np.uint32]) -> NDArray[np.int32]:
        codes = self._table[points]
        missing = codes < 0
        if missing.any():
            for point in np.unique(points[missing]):
                self._table[point] = self.code(chr(point))
            codes = self._table[points]
        return codes

    def to_config(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"case": self.case, "scripts": self.scripts, "characters": "".join(self.characters)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Undo `to_config`."""
        return cls(config["case"], tuple(config["scripts"]), tuple(config["characters"]))


def _folded(character: str) -> str:
    """Lower case where that is one character: codes stay aligned with the name."""
    lower = character.lower()
    return lower if len(lower) == 1 else character
