"""Stage ingest: CSVs of ``name,country`` -> clean Parquet, and the rows that were refused.

Reads ``ingest.train`` and ``ingest.test``; writes data/clean and metrics/ingest.json.
"""

import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import UserError, exit_code
from stages.core.files import atomic_path, write_json
from stages.core.params import IngestParams, Params
from stages.core.progress import Progress
from stages.corpus.reading import KEYS, Format, Reject, read
from stages.corpus.spill import Spill, among, distinct
from stages.corpus.workers import Workers

CLEAN = Path("data/clean")
METRICS = Path("metrics/ingest.json")
TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema([pa.field(column, TEXT, nullable=False) for column in ("name", "country")])
PARQUET = {
    "dictionary_pagesize_limit": 2**30,  # more than a chunk's: the encoding is kept as it is
    "store_schema": False,  # readers see plain strings unless they ask for dictionaries
    "write_statistics": False,  # nobody asks for them, and they take longer than the data
}


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml")).ingest
    CLEAN.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=CLEAN, prefix=".spill.") as scratch,
        Spill(Path(scratch) / "train", KEYS) as train_keys,
        Spill(Path(scratch) / "test", KEYS) as test_keys,
        atomic_path(CLEAN / "rejected.csv") as rejected,
        rejected.open("w", encoding="utf-8", newline="") as reject_file,
        Workers(params.processes) as workers,
    ):
        refuse = csv.writer(reject_file, lineterminator="\n")
        refuse.writerow(["file", "line", "reason"])
        train, countries = ingest("train", params, workers, train_keys, refuse, None)
        test, _ = ingest(
            "test", params, workers, test_keys, refuse, frozenset(countries), train["rejected"]
        )
        duplicates, overlap = repetitions(train_keys, test_keys)
    train["duplicates"], test["duplicates"] = duplicates
    write_json(METRICS, {"train": train, "test": test, "overlap": overlap})
    print(f"ingest: kept {train['kept']} training and {test['kept']} test rows")


def ingest(
    split: str,
    params: IngestParams,
    workers: Workers,
    keys: Spill,
    refuse: Any,
    known: frozenset[str] | None,
    rejected: int = 0,
) -> tuple[dict[str, int], set[str]]:
    """Write one split; return its row counts and its countries.

    Raises:
        UserError: no row is left, or more than ``ingest.max_rejected`` were refused so far.
    """
    source = params.train if split == "train" else params.test
    layout = Format(params.header, params.normalize, params.max_length, params.max_row_bytes)
    counts = {"read": 0, "kept": 0, "rejected": 0}
    countries: set[str] = set()
    first: Reject | None = None
    with (
        atomic_path(CLEAN / f"{split}.parquet") as target,
        pq.ParquetWriter(target, SCHEMA, **PARQUET) as writer,
        Progress(f"ingest {split}", unit="rows") as progress,
    ):
        for chunk in read(source, layout, known, workers):
            writer.write_table(pa.table([chunk.names, chunk.countries], SCHEMA))
            refuse.writerows((bad.file, bad.line, bad.reason) for bad in chunk.rejects)
            countries.update(chunk.countries.dictionary.to_pylist())
            keys.add(chunk.keys)
            first = first or next(iter(chunk.rejects), None)
            counts["read"] += chunk.rows
            counts["kept"] += len(chunk.names)
            counts["rejected"] += len(chunk.rejects)
            progress.advance(chunk.rows)
            if first and rejected + counts["rejected"] > params.max_rejected:
                raise UserError(
                    f"{source}: more than {params.max_rejected} rows are refused "
                    f"(ingest.max_rejected), the first in {first.file}, line {first.line}: "
                    f"{first.reason}"
                )
        if not counts["kept"]:
            why = f": {first.file}, line {first.line}: {first.reason}" if first else ""
            raise UserError(f"{source}: holds no usable row of name,country{why}")
    return counts, countries


def repetitions(train_keys: Spill, test_keys: Spill) -> tuple[list[int], dict[str, int]]:
    """Count rows that repeat an earlier (name, country), and test rows that stand in train.

    Returns:
        duplicates: of train and of test.
        overlap: test rows whose name, and whose (name, country), is also in train.
    """
    duplicates, overlap = [0, 0], {"names": 0, "pairs": 0}
    for train, test in zip(train_keys.partitions(), test_keys.partitions(), strict=True):
        for n, split in enumerate((train, test)):
            duplicates[n] += int(split["rows"].sum()) - distinct(split["pair"])
        for what, field in (("names", "key"), ("pairs", "pair")):
            overlap[what] += int(test["rows"][among(test[field], train[field])].sum())
    return duplicates, overlap


if __name__ == "__main__":
    sys.exit(exit_code(main, Path(".onoma/ingest.lock")))
