"""Stage ingest: rows of name and country -> clean Parquet, and the rows that were refused.

Reads ``ingest.train`` and ``ingest.test``; writes data/clean and metrics/ingest.json.
"""

import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import UserError, exit_code
from stages.core.files import atomic_path, write_json
from stages.core.params import IngestParams, Params
from stages.core.progress import progress
from stages.corpus.keys import append_keys, count_keys, start_keys
from stages.corpus.reading import format_of, read
from stages.corpus.rows import remedy
from stages.corpus.tasks import Tasks, start_tasks

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
    for left in CLEAN.glob(".keys.*"):  # of a run that was killed
        shutil.rmtree(left)
    with (
        atomic_path(CLEAN / "rejected.csv") as rejected,
        rejected.open("w", encoding="utf-8", newline="") as reject_file,
        start_tasks(params.processes, params.cluster, CLEAN) as tasks,
        tempfile.TemporaryDirectory(dir=CLEAN, prefix=".keys.") as scratch,
    ):
        keys = {split: Path(scratch, f"{split}.parquet") for split in ("train", "test")}
        reject_file.write("file,line,reason\n")
        train, countries = ingest("train", params, tasks, reject_file, keys["train"])
        rest = (countries, train["rejected"])
        test, _ = ingest("test", params, tasks, reject_file, keys["test"], *rest)
        distinct, overlap = count_keys(keys)
    for split, rows in (("train", train), ("test", test)):
        rows["duplicates"] = rows["kept"] - distinct[split]
    write_json(METRICS, {"train": train, "test": test, "overlap": overlap})
    print(f"ingest: kept {train['kept']} training and {test['kept']} test rows")


def ingest(
    split: str,
    params: IngestParams,
    tasks: Tasks,
    reject_file: TextIO,
    keys: Path,
    known_countries: frozenset[str] | None = None,
    rejected: int = 0,
) -> tuple[dict[str, int], frozenset[str]]:
    """Write one split and its keys; return its row counts and its countries.

    Raises:
        UserError: no row is left, or more than ``ingest.max_rejected`` were refused so far.
    """
    source = params.train if split == "train" else params.test
    counts = {"read": 0, "kept": 0, "rejected": 0}
    countries: set[str] = set()
    first, reasons = "", Counter[str]()
    with (
        atomic_path(CLEAN / f"{split}.parquet") as target,
        pq.ParquetWriter(target, SCHEMA, **PARQUET) as writer,
        start_keys(keys) as key_writer,
        progress(f"ingest {split}", unit="rows") as bar,
    ):
        for rows, rejects, chunk_keys in read(source, params, known_countries, tasks):
            writer.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False))
            rejects.to_csv(reject_file, header=False, index=False, lineterminator="\n")
            countries.update(rows["country"].cat.categories)
            append_keys(chunk_keys, key_writer)
            counts["kept"] += len(rows)
            reasons.update(rejects["reason"])
            counts["rejected"] = reasons.total()
            bar.update(len(rows) + len(rejects))
            if len(rejects) and not first:
                file, line, reason = rejects.iloc[0]
                first = f"{file}, line {line}: {reason}{remedy(reason, format_of(params))}"
            if first and rejected + counts["rejected"] > params.max_rejected:
                many = f"more than {params.max_rejected} rows are refused (ingest.max_rejected)"
                raise UserError(f"{source}: {many}, the first in {first}")
        if not counts["kept"]:
            why = first and f": {first}"
            raise UserError(f"{source}: holds no usable row of name,country{why}")
    if reasons:
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
        where = f"({CLEAN}/rejected.csv); the first in {first}"
        print(f"ingest: refused {reasons.total()} {split} rows: {why} {where}")
    counts["read"] = counts["kept"] + counts["rejected"]
    return counts, frozenset(countries)


if __name__ == "__main__":
    sys.exit(exit_code(main))
