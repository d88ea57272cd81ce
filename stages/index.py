"""Stage index: clean names -> vocabulary, country index and flat code arrays.

Reads data/clean; writes data/index. Vocabulary and countries come from the training part alone.
"""

import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.core.errors import UserError, exit_code
from stages.core.files import write_json
from stages.core.params import IndexParams, Params
from stages.core.progress import Progress
from stages.corpus.dataset import NamesWriter
from stages.corpus.spill import Spill, among, hashes
from stages.corpus.texts import flat
from stages.corpus.vocabulary import UNICODE, Vocabulary, codepoints

CLEAN = Path("data/clean")
INDEX = Path("data/index")
LABEL = np.uint16
PARTS = ("train", "validation", "calibration")  # of the training rows
TRAIN, VALIDATION, CALIBRATION = range(3)
# Of the distinct names of a chunk: hash, place among those of all chunks, country of the first
# row, whether a row of them is trained on, be it only in the end (`train.refit`).
KEYS = np.dtype([("key", "<u8"), ("entry", "<i8"), ("country", "<i4"), ("trained", "?")])
Part = NDArray[np.int8]
Marks = NDArray[np.bool_]


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml")).index
    INDEX.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=INDEX, prefix=".scratch.") as scratch:
        split = choose(params, Path(scratch))
    vocabulary, countries, sizes = survey(params, split)
    write_json(
        INDEX / "vocabulary.json",
        {"vocabulary": vocabulary.to_config(), "countries": countries},
    )
    write(split, sizes, vocabulary, pa.array(countries))
    print(
        f"index: {len(vocabulary)} codes, {len(countries)} countries, "
        + ", ".join(f"{rows} {part}" for part, (rows, _) in sizes.items() if rows)
        + " names"
    )


@dataclass(frozen=True)
class Chunk:
    """Rows of a clean file: work on text is done for its distinct names, not for its rows.

    Attributes:
        names: (distinct names,)
        entries: places of these among the distinct names of all chunks of the file.
        name_of_row: (rows,) places in ``names``.
        countries: (distinct countries,)
        country_of_row: (rows,) places in ``countries``.
    """

    names: pa.StringArray
    entries: slice
    name_of_row: NDArray[np.int32]
    countries: pa.StringArray
    country_of_row: NDArray[np.int32]

    @cached_property
    def text(self) -> str:
        """All names end to end."""
        return str(flat(self.names)[0].data, "utf-8")

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """(distinct names,) in characters."""
        lengths: NDArray[np.int32] = pc.utf8_length(self.names).to_numpy()
        return lengths


def chunks(source: str) -> Iterator[Chunk]:
    """A clean file, one row group after the other: as large as a chunk of ingest."""
    path = CLEAN / f"{source}.parquet"
    try:
        file = pq.ParquetFile(path, read_dictionary=["name", "country"])
    except FileNotFoundError:
        raise UserError(f"{path}: not there; run dvc repro ingest") from None
    done = 0
    # The next group is read, outside Python's lock, while this one is worked on.
    with file, ThreadPoolExecutor(1) as reader:
        coming = reader.submit(file.read_row_group, 0)
        for number in range(1, file.num_row_groups + 1):
            columns = coming.result().unify_dictionaries().combine_chunks()
            if number < file.num_row_groups:
                coming = reader.submit(file.read_row_group, number)
            if columns.num_rows:
                name, country = (columns[field].chunk(0) for field in ("name", "country"))
                names = len(name.dictionary)
                yield Chunk(
                    name.dictionary,
                    slice(done, done + names),
                    name.indices.to_numpy(),
                    country.dictionary,
                    country.indices.to_numpy(),
                )
                done += names


@dataclass(frozen=True)
class Split:
    """Which rows are held out of training; a function of parameters and data, not kept per row.

    Attributes:
        seed: of the rows for calibration.
        calibration: share of these.
        held_out: (distinct names of all training chunks,) True where they are for validation.
        seen: (distinct names of all test chunks,) True where they are trained on.
    """

    seed: int
    calibration: float
    held_out: Marks | None = None
    seen: Marks = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def chunks(self) -> Iterator[tuple[Chunk, Part]]:
        """Training rows, and the place in `PARTS` of each."""
        random = np.random.default_rng(self.seed)
        random.random()  # the phase of `hold_out`
        for chunk in chunks("train"):
            # Rows, not names: the temperature is for names as they come, and of those some
            # stand in training.
            drawn = random.random(len(chunk.name_of_row)) < self.calibration
            part = (CALIBRATION * drawn).astype(np.int8)
            if self.held_out is not None:
                part[self.held_out[chunk.entries][chunk.name_of_row]] = VALIDATION
            yield chunk, part


def choose(params: IndexParams, scratch: Path) -> Split:
    """Decide what is held out of training, and which test names stand in it."""
    split = Split(params.seed, params.calibration)
    phase = np.random.default_rng(params.seed).random()
    counters: dict[int, int] = {}
    numbers: dict[str, int] = {}
    any_trained, entries, asked_entries = False, 0, 0
    with Spill(scratch / "train", KEYS) as train, Spill(scratch / "test", KEYS) as test:
        for chunk, part in split.chunks():
            trained = np.zeros(len(chunk.names), dtype=bool)
            trained[chunk.name_of_row[part != VALIDATION]] = True
            any_trained |= bool((part == TRAIN).any())
            train.add(records(chunk, numbers, trained))
            entries = chunk.entries.stop
        if not any_trained:  # so few that all were drawn
            return choose(params.model_copy(update={"calibration": 0.0}), scratch / "all")
        for chunk in chunks("test"):
            test.add(records(chunk, numbers, np.zeros(len(chunk.names), dtype=bool)))
            asked_entries = chunk.entries.stop
        held_out, seen = np.zeros(entries, dtype=bool), np.zeros(asked_entries, dtype=bool)
        for known, asked in zip(train.partitions(), test.partitions(), strict=True):
            held = np.zeros(len(known), dtype=bool)
            if params.validation and len(known):
                held = hold_out(known, params.validation, phase, counters)
            held_out[known["entry"][held]] = True
            seen[asked["entry"]] = among(asked["key"], known["key"][known["trained"] & ~held])
    return replace(split, held_out=held_out if params.validation else None, seen=seen)


def records(chunk: Chunk, numbers: dict[str, int], trained: Marks) -> NDArray[Any]:
    """Of `KEYS`, for the distinct names of a chunk; ``numbers`` of countries grow with it."""
    found = np.empty(len(chunk.names), dtype=KEYS)
    found["key"] = hashes(chunk.names)
    found["entry"] = np.arange(chunk.entries.start, chunk.entries.stop)
    countries = [numbers.setdefault(c, len(numbers)) for c in chunk.countries.to_pylist()]
    # Backwards, so that the first row of each name has the last word.
    found["country"][chunk.name_of_row[::-1]] = np.array(countries)[chunk.country_of_row[::-1]]
    found["trained"] = trained
    return found


def hold_out(
    records: NDArray[Any], share: float, phase: float, counters: dict[int, int]
) -> NDArray[np.bool_]:
    """Choose whole names for validation, the wanted share of each country: a mask of records.

    A name goes to one side with all its rows, so nothing leaks. Within a country (that of the
    name's first row) names are taken at regular steps in the order of their hashes: the same
    rows on every run, without a list of all names in memory.

    Args:
        records: of `KEYS`, sorted by key; those of one key in the order of its rows.
        share: of the names, 0 to 0.5.
        phase: where the steps begin, 0 to 1: another phase chooses other names.
        counters: names met so far per country; carried from one partition to the next.
    """
    names, first, group = np.unique(records["key"], return_index=True, return_inverse=True)
    chosen = np.zeros(len(names), dtype=bool)
    for n, country in enumerate(records["country"][first].tolist()):
        count = counters.get(country, 0)
        if count:  # the first name of a country always stays
            before, after = (math.floor(k * share + phase) for k in (count - 1, count))
            chosen[n] = after > before
        counters[country] = count + 1
    return chosen[group]


def survey(
    params: IndexParams, split: Split
) -> tuple[Vocabulary, list[str], dict[str, tuple[int, int]]]:
    """Count characters and countries of the training rows, and the size of every split.

    Returns:
        vocabulary: from the training rows, validation excepted.
        countries: of the training file, sorted; a country's place is its label.
        sizes: split -> (names, codes).
    """
    counts = np.zeros(UNICODE, dtype=np.int64)
    countries: set[str] = set()
    sizes = dict.fromkeys((*PARTS, "test"), (0, 0))

    def add(name: str, rows: NDArray[np.int64], lengths: NDArray[np.int32]) -> None:
        names, codes = sizes[name]
        sizes[name] = names + int(rows.sum()), codes + int(rows @ (lengths + 2))

    for chunk, part in split.chunks():
        countries.update(chunk.countries.to_pylist())
        # rows[part, name]: how often each distinct name stands in each part
        cells = part.astype(np.intp) * len(chunk.names) + chunk.name_of_row
        rows = np.bincount(cells, minlength=len(PARTS) * len(chunk.names)).reshape(len(PARTS), -1)
        for name, rows_of_name in zip(PARTS, rows, strict=True):
            add(name, rows_of_name, chunk.lengths)
        weights = np.repeat(rows[TRAIN] + rows[CALIBRATION], chunk.lengths)
        points = np.bincount(codepoints(chunk.text), weights)
        counts[: len(points)] += points.astype(np.int64)
    for chunk in chunks("test"):
        add("test", np.bincount(chunk.name_of_row), chunk.lengths)
    if len(countries) > np.iinfo(LABEL).max:
        raise UserError(f"{len(countries)} countries; {np.iinfo(LABEL).max} is the most")
    vocabulary = Vocabulary.from_counts(counts, params.case, params.min_count)
    return vocabulary, sorted(countries), sizes


def write(
    split: Split,
    sizes: dict[str, tuple[int, int]],
    vocabulary: Vocabulary,
    countries: pa.StringArray,
) -> None:
    """Encode the clean files as one folder per split.

    Args:
        split: which rows are held out.
        sizes: split -> names and codes that it will have.
        vocabulary: turns names into codes.
        countries: in the order of their labels.
    """
    writers = {}
    for name, size in sizes.items():
        if name in PARTS and not size[0]:  # an earlier run's would be taken for this one's
            shutil.rmtree(INDEX / name, ignore_errors=True)
        else:
            writers[name] = NamesWriter(INDEX / name, *size, vocabulary.dtype, LABEL)
    total = sum(names for names, _ in sizes.values())
    with Progress("index", total=total) as progress:
        for chunk, part in split.chunks():
            codes = encode(chunk, vocabulary)
            labels = pc.index_in(chunk.countries, countries).to_numpy()[chunk.country_of_row]
            for number, name in enumerate(PARTS):
                mine = part == number
                if name in writers:
                    flat = repeat(codes, chunk.name_of_row[mine], vocabulary.dtype)
                    seen = np.full(len(flat[1]) - 1, number != VALIDATION)
                    writers[name].add(*flat, labels[mine], seen)
            progress.advance(len(part))
        for chunk in chunks("test"):
            codes = encode(chunk, vocabulary)
            labels = pc.index_in(chunk.countries, countries).to_numpy()[chunk.country_of_row]
            flat = repeat(codes, chunk.name_of_row, vocabulary.dtype)
            seen = split.seen[chunk.entries][chunk.name_of_row]
            writers["test"].add(*flat, labels, seen)
            progress.advance(len(labels))
    for writer in writers.values():
        writer.close()


def encode(chunk: Chunk, vocabulary: Vocabulary) -> pa.LargeBinaryArray:
    """The codes of each distinct name."""
    codes, offsets = vocabulary.encode_text(chunk.text, chunk.lengths)
    buffers = [None, pa.py_buffer(offsets * codes.itemsize), pa.py_buffer(codes)]
    return pa.Array.from_buffers(pa.large_binary(), len(chunk.names), buffers)


def repeat(
    codes: pa.LargeBinaryArray, places: NDArray[np.int32], code_type: type[Any]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Codes of the names at ``places``, end to end, and where each begins."""
    _, edges, flat = codes.take(pa.array(places)).buffers()
    offsets = (
        np.frombuffer(edges, dtype=np.int64)[: len(places) + 1] // np.dtype(code_type).itemsize
    )
    return np.frombuffer(flat or b"", dtype=code_type)[: offsets[-1]], offsets


if __name__ == "__main__":
    sys.exit(exit_code(main, Path(".onoma/index.lock")))
