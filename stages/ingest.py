"""Stage ingest: rows of name and country -> clean Parquet, and the rows that were refused.

Reads ``ingest.train`` and ``ingest.test``; writes data/clean and metrics/ingest.json.
"""

import sys
from pathlib import Path
from typing import TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import UserError, exit_code
from stages.core.files import atomic_path, write_json
from stages.core.params import IngestParams, Params
from stages.core.progress import Progress
from stages.corpus.reading import read, remedy
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
    with (
        atomic_path(CLEAN / "rejected.csv") as rejected,
        rejected.open("w", encoding="utf-8", newline="") as reject_file,
        start_tasks(params.processes, params.cluster, CLEAN) as tasks,
    ):
        reject_file.write("file,line,reason\n")
        train, keys, countries = ingest("train", params, tasks, reject_file)
        test, test_keys, _ = ingest(
            "test", params, tasks, reject_file, frozenset(countries), train["rejected"]
        )
    # Test rows whose name, and whose name with its country, is in train too.
    overlap = {
        f"{key}s": int(test_keys["rows"][test_keys[key].isin(keys[key])].sum())
        for key in ("name", "pair")
    }
    write_json(METRICS, {"train": train, "test": test, "overlap": overlap})
    print(f"ingest: kept {train['kept']} training and {test['kept']} test rows")


def ingest(
    split: str,
    params: IngestParams,
    tasks: Tasks,
    reject_file: TextIO,
    known: frozenset[str] | None = None,
    rejected: int = 0,
) -> tuple[dict[str, int], pd.DataFrame, set[str]]:
    """Write one split; return its row counts, its distinct keys and its countries.

    Raises:
        UserError: no row is left, or more than ``ingest.max_rejected`` were refused so far.
    """
    source = params.train if split == "train" else params.test
    counts = {"read": 0, "kept": 0, "rejected": 0}
    keys: list[pd.DataFrame] = []
    countries: set[str] = set()
    first = ""
    with (
        atomic_path(CLEAN / f"{split}.parquet") as target,
        pq.ParquetWriter(target, SCHEMA, **PARQUET) as writer,
        Progress(f"ingest {split}", unit="rows") as progress,
    ):
        for rows, rejects, found in read(source, params, known, tasks):
            writer.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False))
            rejects.to_csv(reject_file, header=False, index=False, lineterminator="\n")
            countries.update(rows["country"].cat.categories)
            keys.append(found)
            if sum(map(len, keys)) > max(2**22, 2 * len(keys[0])):
                keys = [distinct(keys)]
            counts["kept"] += len(rows)
            counts["rejected"] += len(rejects)
            progress.advance(len(rows) + len(rejects))
            if len(rejects) and not first:
                file, line, reason = rejects.iloc[0]
                first = f"{file}, line {line}: {reason}{remedy(reason)}"
            if first and rejected + counts["rejected"] > params.max_rejected:
                raise UserError(
                    f"{source}: more than {params.max_rejected} rows are refused "
                    f"(ingest.max_rejected), the first in {first}"
                )
        if not counts["kept"]:
            raise UserError(
                f"{source}: holds no usable row of name,country{first and ': ' + first}"
            )
    keys = [distinct(keys)]
    counts["read"] = counts["kept"] + counts["rejected"]
    counts["duplicates"] = counts["kept"] - len(keys[0])
    return counts, keys[0], countries


def distinct(keys: list[pd.DataFrame]) -> pd.DataFrame:
    """Keys of chunks (see `Chunk`) as one, each pair of name and country once."""
    return pd.concat(keys).groupby("pair", as_index=False).agg({"name": "first", "rows": "sum"})


if __name__ == "__main__":
    sys.exit(exit_code(main, Path(".onoma/ingest.lock")))
