"""Corpora of any size that look like real ones: the same rows for the same seed.

`write` makes FOLDER/train, in one file or so many shards, and FOLDER/test.csv, a hundredth of the
rows. A smaller corpus of the same seed is the beginning of a larger one.

- Countries and scripts come in the shares of data/raw; each has its own names.
- Names repeat by the Zipf-Mandelbrot law; the commonest are those of data/raw, the others are put
  together from their pieces. There is always another one: distinct names grow with rows**(2/3)
  (Heaps' law).
- One row in a thousand is one that ingest refuses, each kind of them equally often, save unclosed
  quotes and UTF-16.
"""

import csv
import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np

from tests.conftest import ROOT

CHUNK = 2**16
BAD_SHARE = 0.001
OFFSET, EXPONENT = 40, 0.5  # of the law: a name of rank r has the share (1 + r / 40) ** -1.5
BAD_LINES = (
    b',"Italian"',
    b'"Qx",',
    b'" ","Italian"',
    b'"Qx"',
    b"Qx,Italian,Roma",
    b'"Ro\xffssi","Italian"',
    b'"Ro\x1bssi","Italian"',
    b'"' + 55 * b"Qx" + b'","Italian"',
    b'"Qx"x,"Italian"',
)


class Population:
    """Who is in the corpus: groups of one country and script, each with its names.

    Args:
        folder: holds the CSVs that names and shares are taken from.
        seed: of all choices.
    """

    def __init__(self, folder: Path = ROOT / "data/raw", seed: int = 1) -> None:
        groups: dict[tuple[str, bool], list[str]] = {}
        for path in sorted(folder.glob("*.csv.gz")):
            with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
                for name, country in csv.reader(file):
                    groups.setdefault((country, name[0] < "\u0250"), []).append(name)
        self._seed = seed
        self._countries = [country for country, _ in groups]
        sizes = np.array([len(names) for names in groups.values()], dtype=float)
        self._shares = np.cumsum(sizes / sizes.sum())
        random = np.random.default_rng(seed)
        self._names = [
            [names[place] for place in random.permutation(len(names))]
            for names in (list(dict.fromkeys(names)) for names in groups.values())
        ]

    def chunk(self, number: int) -> list[bytes]:
        """Lines of a chunk, each with its line end."""
        random = np.random.default_rng([self._seed, number])
        group = np.searchsorted(self._shares, random.random(CHUNK)).clip(max=len(self._names) - 1)
        drawn = OFFSET * ((1 - random.random(CHUNK)) ** (-1 / EXPONENT) - 1)
        person = (drawn.clip(max=2.0**50).astype(np.uint64) << np.uint64(8)) | group.astype("u8")
        distinct, place = np.unique(person, return_inverse=True)
        lines = [*map(self._line, (distinct & np.uint64(255)).tolist(), (distinct >> 8).tolist())]
        spoilt = np.flatnonzero(random.random(CHUNK) < BAD_SHARE)
        place[spoilt] = len(lines) + random.integers(len(BAD_LINES), size=len(spoilt))
        lines += [line + b"\n" for line in BAD_LINES]
        return [lines[index] for index in place]

    def _line(self, group: int, rank: int) -> bytes:
        return f'"{self._name(group, rank)}","{self._countries[group]}"\n'.encode()

    def _name(self, group: int, rank: int) -> str:
        known = self._names[group]
        if rank < len(known):
            return known[rank]
        choice = (rank * 0x9E3779B97F4A7C15 + group) % 2**64  # scatters neighbours
        choice, left = divmod(choice >> 8, len(known))
        choice, right = divmod(choice, len(known))
        choice, middle = divmod(choice, 2 * len(known))
        start, end = known[left], known[right]
        name = start[: len(start) // 2 + 1]
        if middle < len(known):
            name += known[middle][1:3].lower()
        return (name + end[len(end) // 2 :]).replace('"', "")


def write(folder: Path, rows: int, shards: int = 1, seed: int = 1) -> Path:
    """Write train and test unless they are there; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    population = Population(seed=seed)
    (folder / "train").mkdir(exist_ok=True)
    edges = np.linspace(0, rows, shards + 1).astype(int)
    for number, (start, stop) in enumerate(pairwise(edges.tolist())):
        _write(folder / "train" / f"{number:03d}.csv", population, start, stop)
    # Far behind the chunks of any train file: other draws from the same population.
    _write(folder / "test.csv", population, 2**40, 2**40 + max(1, rows // 100))
    return folder


def _write(path: Path, population: Population, start: int, stop: int) -> None:
    """Rows ``start`` to ``stop`` of the endless corpus."""
    if path.exists():
        return
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        while start < stop:
            number, skipped = divmod(start, CHUNK)
            end = min(CHUNK, skipped + stop - start)
            file.write(b"".join(population.chunk(number)[skipped:end]))
            start += end - skipped
    part.replace(path)
