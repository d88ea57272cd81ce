"""Corpora of any size that look like real ones: the same rows each time.

`write` makes FOLDER/train, in one file or so many shards, and FOLDER/test.csv, a hundredth of the
rows. A smaller corpus is the beginning of a larger one.

- Countries and scripts come in the shares of data/raw; each has its own names.
- Names repeat by the Zipf-Mandelbrot law; the commonest are those of data/raw, the others are put
  together from their pieces. There is always another one: distinct names grow with rows**(2/3)
  (Heaps' law).
- One row in a thousand is one that ingest refuses, each kind of them equally often, save unclosed
  quotes and UTF-16.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from tests.conftest import ROOT

SEED = 1
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
    """Who is in the corpus: groups of one country and script, each with its names."""

    def __init__(self) -> None:
        files = sorted((ROOT / "data/raw").glob("*.csv.gz"))
        tables = [pd.read_csv(file, names=["name", "country"], na_filter=False) for file in files]
        table = pd.concat(tables)
        groups = table.groupby(["country", table["name"].str[0] < "\u0250"], sort=False)["name"]
        self._countries = [country for (country, _), _ in groups]
        self._shares = np.cumsum(groups.size().to_numpy() / len(table))
        random = np.random.default_rng(SEED)
        self._names = [random.permutation(names.unique()).tolist() for _, names in groups]

    def chunk(self, number: int) -> list[bytes]:
        """Lines of a chunk, each with its line end."""
        random = np.random.default_rng([SEED, number])
        group = np.searchsorted(self._shares, random.random(CHUNK)).clip(max=len(self._names) - 1)
        drawn = OFFSET * ((1 - random.random(CHUNK)) ** (-1 / EXPONENT) - 1)
        person = (drawn.clip(max=2.0**50).astype(np.uint64) << np.uint64(8)) | group.astype("u8")
        distinct, place = np.unique(person, return_inverse=True)
        lines = [self._line(key & 255, key >> 8) for key in distinct.tolist()]
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
        scattered = (rank * 0x9E3779B97F4A7C15 + group) % 2**64
        choice, left = divmod(scattered >> 8, len(known))
        choice, right = divmod(choice, len(known))
        choice, middle = divmod(choice, 2 * len(known))
        start, end = known[left], known[right]
        name = start[: len(start) // 2 + 1]
        if middle < len(known):
            name += known[middle][1:3].lower()
        return (name + end[len(end) // 2 :]).replace('"', "")


def write(folder: Path, rows: int, shards: int = 1) -> Path:
    """Write train and test unless they are there; return the folder."""
    population = Population()
    (folder / "train").mkdir(parents=True, exist_ok=True)
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
