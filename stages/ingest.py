"""Stage ingest: rows of name and country -> clean Parquet, and the rows that were refused.

Reads ``ingest.train`` and ``ingest.test``; writes data/clean and metrics/ingest.json.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import UserError, exit_code
from stages.core.files import atomic_path, write_json
from stages.core.params import Params
from stages.core.progress import progress
from stages.corpus.keys import count_keys
from stages.corpus.reading import check_countries, format_of, read
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
    params = Params.load(Path("params.yaml"))
    CLEAN.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(CLEAN / "rejected.csv") as rejected,
        rejected.open("w", encoding="utf-8", newline="") as reject_file,
        start_tasks(params.ingest.processes, params.ingest.cluster, CLEAN) as tasks,
    ):
        reject_file.write("file,line,reason\n")
        train, countries = ingest("train", params, tasks, reject_file)
        test, _ = ingest("test", params, tasks, reject_file, countries, train["rejected"])
        distinct, overlap = count_keys(CLEAN / "train.parquet", CLEAN / "test.parquet", tasks)
    for rows, count in zip((train, test), distinct, strict=True):
        rows["duplicates"] = rows["kept"] - count
    write_json(METRICS, {"train": train, "test": test, "overlap": overlap})
    print(f"ingest: kept {train['kept']} training and {test['kept']} test rows")


def ingest(
    split: str,
    params: Params,
    tasks: Tasks,
    reject_file: TextIO,
    known_countries: frozenset[str] | None = None,
    rejected_before: int = 0,
) -> tuple[dict[str, int], frozenset[str]]:
    """Write one split; return its row counts and its countries.

    Raises:
        UserError: no row is left, too many are refused, or the countries are not those meant.
    """
    limits, full = params.ingest, params.corpus.names != "surnames"
    source = limits.train if split == "train" else limits.test
    countries, reasons, kept, first = Counter[str](), Counter[str](), 0, ""
    first_rows: list[tuple[str, str]] = []
    with (
        atomic_path(CLEAN / f"{split}.parquet") as target,
        pq.ParquetWriter(target, SCHEMA, **PARQUET) as writer,
        progress(f"ingest {split}", unit="rows") as bar,
    ):
        for rows, rejects, may_be_headers in read(source, limits, known_countries, tasks, full):
            writer.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False))
            rejects.to_csv(reject_file, header=False, index=False, lineterminator="\n")
            countries.update({str(c): n for c, n in rows["country"].value_counts().items()})
            first_rows += may_be_headers
            kept += len(rows)
            reasons.update(rejects["reason"])
            bar.update(len(rows) + len(rejects))
            if len(rejects) and not first:
                file, line, reason = rejects.iloc[0]
                first = f"{file}, line {line}: {reason}{remedy(reason, format_of(limits))}"
            if first and rejected_before + reasons.total() > limits.max_rejected:
                excess = f"more than {limits.max_rejected} rows are refused (ingest.max_rejected)"
                raise UserError(f"{source}: {excess}, the first in {first}")
        if not kept:
            raise UserError(f"{source}: holds no usable row of name,country{first and ': '}{first}")
        if split == "train":
            check_countries(countries, first_rows)
    refused = reasons.total()
    most = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
    details = f": {most} ({CLEAN}/rejected.csv); the first in {first}" if refused else ""
    print(f"ingest: refused {refused} {split} rows{details}")
    return {"read": kept + refused, "kept": kept, "rejected": refused}, frozenset(countries)


if __name__ == "__main__":
    sys.exit(exit_code(main))
