"""Stage index: clean names -> vocabulary, country index and flat code arrays.

Reads data/clean; writes data/index. Vocabulary and countries come from the training part alone.
"""

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


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml")).index
    INDEX.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=INDEX, prefix=".scratch.") as scratch:
        held_out, seen = split_rows(params, Path(scratch))
        vocabulary, countries, sizes = survey(params, held_out)
        write_json(
            INDEX / "vocabulary.json",
            {"vocabulary": vocabulary.to_config(), "countries": countries},
        )
        label_of = pa.array(countries)
        splits = {
            "train": ("train", ~held_out, np.ones(len(held_out), dtype=bool)),
            "validation": ("train", held_out, np.zeros(len(held_out), dtype=bool)),
            "test": ("test", np.ones(len(seen), dtype=bool), seen),
        }
        for split, (source, mask, known) in splits.items():
            if mask.any():
                write(split, source, mask, known, sizes[split], vocabulary, label_of)
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


def split_rows(params: IndexParams, scratch: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Decide which training rows are held out, and which test names stand in training.

    Returns:
        held_out: (training rows,) True for the validation part.
        seen: (test rows,) True where the name is also in the training part that is kept.
    """
    held_out = np.zeros(row_count("train"), dtype=bool)
    seen = np.zeros(row_count("test"), dtype=bool)
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
        for known, asked in zip(train.partitions(), test.partitions(), strict=True):
            if params.validation and len(known):
                known = hold_out(known, params, counters, held_out)
            seen[asked["row"]] = np.isin(asked["key"], known["key"])
    return held_out, seen


def hold_out(
    records: NDArray[Any],
    params: IndexParams,
    counters: dict[int, int],
    held_out: NDArray[np.bool_],
) -> NDArray[Any]:
    """Mark whole names as held out, the wanted share of each country; return what stays.

    A name goes to one side with all its rows, so nothing leaks. Within a country (that of the
    name's first row) names are taken at regular steps in the order of their hashes: the same
    rows on every run, without a list of all names in memory.
    """
    names, first, group = np.unique(records["key"], return_index=True, return_inverse=True)
    # Another seed cuts another part: each starts at its own phase of the step.
    phase = np.random.default_rng(params.seed).random()
    chosen = np.zeros(len(names), dtype=bool)
    for n, country in enumerate(records["country"][first]):
        count = counters.get(int(country), 0)
        before, after = (np.floor(k * params.validation + phase) for k in (count, count + 1))
        chosen[n] = count > 0 and after > before  # the first name of a country always stays
        counters[int(country)] = count + 1
    mask = chosen[group]
    held_out[records["row"][mask]] = True
    return records[~mask]


def survey(
    params: IndexParams, held_out: NDArray[np.bool_]
) -> tuple[Vocabulary, list[str], dict[str, tuple[int, int]]]:
    """Count characters and countries of the training part, and the size of every split.

    Returns:
        vocabulary: from the training part, what is held out excepted.
        countries: of the training file, sorted; a country's place is its label.
        sizes: split -> (names, codes).
    """
    counts = np.zeros(UNICODE, dtype=np.int64)
    countries: set[str] = set()
    sizes = {"train": (0, 0), "validation": (0, 0), "test": (0, 0)}

    def add(split: str, names: list[str], points: int) -> None:
        rows, codes = sizes[split]
        sizes[split] = rows + len(names), codes + points + 2 * len(names)

    for rows, table in tables("train"):
        countries.update(table["country"].unique().to_pylist())
        mask = pa.array(held_out[rows])
        for split, part in (
            ("train", table.filter(pc.invert(mask))),
            ("validation", table.filter(mask)),
        ):
            names = part["name"].to_pylist()
            points = codepoints("".join(names))
            add(split, names, len(points))
            if split == "train":
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
    seen: NDArray[np.bool_],
    size: tuple[int, int],
    vocabulary: Vocabulary,
    countries: pa.StringArray,
) -> None:
    """Encode the masked rows of a clean file as one split."""
    writer = NamesWriter(INDEX / split, *size, vocabulary.dtype, LABEL)
    with Progress(f"index {split}", total=size[0]) as progress:
        for rows, table in tables(source):
            part = table.filter(pa.array(mask[rows]))
            labels = pc.index_in(part["country"], countries).to_numpy()
            names = part["name"].to_pylist()
            writer.add(*vocabulary.encode(names), labels, seen[rows][mask[rows]])
            progress.advance(len(names))
    writer.close()


if __name__ == "__main__":
    sys.exit(exit_code(main))
