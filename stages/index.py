"""Stage index: clean names -> vocabulary, country index and flat code arrays.

Reads data/clean; writes data/index. Vocabulary and countries come from the training part alone.
"""

import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.core.alphabet import UNICODE, Vocabulary, codepoints
from stages.core.dataset import NamesWriter
from stages.core.errors import UserError, exit_code
from stages.core.files import write_json
from stages.core.params import IndexParams, Params
from stages.core.progress import Progress
from stages.core.spill import Spill, hashes

CLEAN = Path("data/clean")
INDEX = Path("data/index")
ROWS = 2**18
KEYS = np.dtype([("key", "<u8"), ("row", "<i8"), ("country", "<i4")])
LABEL = np.uint16
PARTS = ("train", "validation", "calibration")  # of the training rows
TRAIN, VALIDATION, CALIBRATION = range(3)


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml")).index
    INDEX.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=INDEX, prefix=".scratch.") as scratch:
        part, seen = split_rows(params, Path(scratch))
        vocabulary, countries, sizes = survey(params, part)
        write_json(
            INDEX / "vocabulary.json",
            {"vocabulary": vocabulary.to_config(), "countries": countries},
        )
        label_of = pa.array(countries)
        for number, split in enumerate(PARTS):
            if sizes[split][0]:
                write(split, "train", part == number, None, sizes[split], vocabulary, label_of)
            else:  # an earlier run's would be taken for this one's
                shutil.rmtree(INDEX / split, ignore_errors=True)
        everything = np.ones(len(seen), dtype=bool)
        write("test", "test", everything, seen, sizes["test"], vocabulary, label_of)
    print(
        f"index: {len(vocabulary)} codes, {len(countries)} countries, "
        + ", ".join(f"{rows} {split}" for split, (rows, _) in sizes.items() if rows)
        + " names"
    )


def tables(source: str) -> Iterator[tuple[slice, pa.Table]]:
    """Chunks of a clean file, with the rows of it that they are."""
    start = 0
    for batch in pq.ParquetFile(CLEAN / f"{source}.parquet").iter_batches(ROWS):
        yield slice(start, start + len(batch)), pa.table(batch)
        start += len(batch)


def row_count(source: str) -> int:
    """Rows of a clean file."""
    try:
        return int(pq.ParquetFile(CLEAN / f"{source}.parquet").metadata.num_rows)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not there; run dvc repro ingest") from None


def split_rows(params: IndexParams, scratch: Path) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Decide which part each training row belongs to, and which test names stand in training.

    Returns:
        part: (training rows,) place in `PARTS`.
        seen: (test rows,) True where the name is also in the part that is trained on.
    """
    part = np.zeros(row_count("train"), dtype=np.int8)
    seen = np.zeros(row_count("test"), dtype=bool)
    random = np.random.default_rng(params.seed)
    phase = random.random()
    counters: dict[int, int] = {}
    countries: dict[str, int] = {}
    with Spill(scratch / "train", KEYS) as train, Spill(scratch / "test", KEYS) as test:
        for keys, source in ((train, "train"), (test, "test")):
            for rows, table in tables(source):
                names = table["name"].to_pylist()
                places = np.array(
                    [countries.setdefault(c, len(countries)) for c in table["country"].to_pylist()]
                )
                keys.add(key=hashes(names), row=np.arange(rows.start, rows.stop), country=places)
                if source == "train":
                    # Rows, not names: the temperature is for names as they come, and of those
                    # some stand in training.
                    part[rows] = CALIBRATION * (random.random(len(names)) < params.calibration)
        if not (part == TRAIN).any():
            part[:] = TRAIN
        for known, asked in zip(train.partitions(), test.partitions(), strict=True):
            if params.validation and len(known):
                held_out = hold_out(known, params.validation, phase, counters)
                part[known["row"][held_out]] = VALIDATION
            trained = known["key"][part[known["row"]] == TRAIN]
            seen[asked["row"]] = np.isin(asked["key"], trained)
    return part, seen


def hold_out(
    records: NDArray[Any], share: float, phase: float, counters: dict[int, int]
) -> NDArray[np.bool_]:
    """Choose whole names for validation, the wanted share of each country: a mask of records.

    A name goes to one side with all its rows, so nothing leaks. Within a country (that of the
    name's first row) names are taken at regular steps in the order of their hashes: the same
    rows on every run, without a list of all names in memory.

    Args:
        records: (rows,) of `KEYS`, sorted by key.
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
    params: IndexParams, part: NDArray[np.int8]
) -> tuple[Vocabulary, list[str], dict[str, tuple[int, int]]]:
    """Count characters and countries of the training part, and the size of every split.

    Returns:
        vocabulary: from the training part, what is held out excepted.
        countries: of the training file, sorted; a country's place is its label.
        sizes: split -> (names, codes).
    """
    counts = np.zeros(UNICODE, dtype=np.int64)
    countries: set[str] = set()
    sizes = dict.fromkeys((*PARTS, "test"), (0, 0))

    def add(split: str, names: list[str], points: int) -> None:
        rows, codes = sizes[split]
        sizes[split] = rows + len(names), codes + points + 2 * len(names)

    for rows, table in tables("train"):
        countries.update(table["country"].unique().to_pylist())
        for number, split in enumerate(PARTS):
            names = table["name"].filter(pa.array(part[rows] == number)).to_pylist()
            points = codepoints("".join(names))
            add(split, names, len(points))
            if number == TRAIN:
                counts += np.bincount(points, minlength=UNICODE)
    for _, table in tables("test"):
        names = table["name"].to_pylist()
        add("test", names, sum(map(len, names)))
    if len(countries) > np.iinfo(LABEL).max:
        raise UserError(f"{len(countries)} countries; {np.iinfo(LABEL).max} is the most")
    vocabulary = Vocabulary.from_counts(counts, params.case, params.min_count)
    return vocabulary, sorted(countries), sizes


def write(
    split: str,
    source: str,
    mask: NDArray[np.bool_],
    seen: NDArray[np.bool_] | None,
    size: tuple[int, int],
    vocabulary: Vocabulary,
    countries: pa.StringArray,
) -> None:
    """Encode the masked rows of a clean file as one split.

    Args:
        split: folder to write.
        source: clean file to read.
        mask: (rows of the file,) which of them.
        seen: (rows of the file,) whether a name stands in training; None for parts of that file.
        size: names and codes that this will be.
        vocabulary: turns names into codes.
        countries: in the order of their labels.
    """
    writer = NamesWriter(INDEX / split, *size, vocabulary.dtype, LABEL)
    with Progress(f"index {split}", total=size[0]) as progress:
        for rows, table in tables(source):
            part = table.filter(pa.array(mask[rows]))
            labels = pc.index_in(part["country"], countries).to_numpy()
            names = part["name"].to_pylist()
            known = np.full(len(names), split == "train") if seen is None else seen[rows]
            writer.add(*vocabulary.encode(names), labels, known)
            progress.advance(len(names))
    writer.close()


if __name__ == "__main__":
    sys.exit(exit_code(main, Path(".onoma/index.lock")))
