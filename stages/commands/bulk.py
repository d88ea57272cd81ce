"""`onoma predict --input`: tables with a column of names -> the same tables with answers."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.core.errors import UserError, brief
from stages.core.files import write_json
from stages.core.progress import progress
from stages.core.text import visible
from stages.corpus.rows import Format
from stages.corpus.sources import files_of
from stages.corpus.tables import Table
from stages.corpus.tasks import start_tasks
from stages.corpus.writing import STDOUT, check_suffix, create
from stages.serving.bundle import load
from stages.serving.columns import Answerer
from stages.serving.predictor import Predictor

RECORD = ".onoma-predict.json"  # in an output folder: what its tables were made with
SUMMARY = (
    "predict: {rows:,} rows, {computed:,} names computed, {unusable:,} rows with an unusable "
    "name and no answer; wrote "
)


class Options(NamedTuple):
    """What is predicted: the options of the command of the same names."""

    model: Path
    column: str
    given: str | None
    full_names: bool
    prefix: str
    top: int
    abstain: float
    separator: str
    encoding: str
    header: bool

    def table(self, file: str) -> Table:
        """The table in a file."""
        return Table(file, Format(self.separator, self.encoding, header=self.header))


Counts = Counter[str]  # those of `SUMMARY`, and of rows that are unreadable


def predict_file(file: str, target: Path, options: Options, adapt: bool) -> tuple[Counts, str]:
    """Write ``target``, a table as ``file`` is, with all processors; see `add_answers`.

    Args:
        file: path or URL of a table.
        target: path of the table with answers, or `STDOUT`; then messages go to standard error.
        options: see `add_answers`.
        adapt: whether to reweight the answers by the shares of the countries in this table.
    """
    model, shares = load(options.model, threads=os.cpu_count() or 1), None
    if adapt:
        from stages.serving.populations import read_populations  # imports SciPy

        columns = (options.column, options.full_names, None, options.given)
        (population,) = read_populations(model, options.table(file), *columns).values()
        shares = population.estimate().shares
    table = options.table(file)
    with progress("predict", table.rows, "rows") as bar:
        counts, problem = add_answers(table, target, model, options, shares, bar.update)
    messages = sys.stderr if target == STDOUT else sys.stdout
    print(f"{SUMMARY.format_map(counts)}{target}", file=messages)
    print(f"model {model.model_hash}, population: {visible(model.population)}", file=messages)
    return counts, problem


def add_answers(
    table: Table,
    target: Path,
    model: Predictor,
    options: Options,
    shares: NDArray[np.floating[Any]] | None = None,
    advance: Callable[[int], object] = lambda rows: None,
) -> tuple[Counts, str]:
    """Write a table with the columns of the answers to ``target``, which appears when it is whole.

    Args:
        table: a table with a column of names.
        target: path of the table to write; its suffix says how.
        model: the model that answers.
        options: the column of names, and which columns are added.
        shares: (countries,) shares by which the answers are reweighted.
        advance: function that is called with the number of rows just written.

    Returns:
        The counts, and the first row that cannot be read, if there is one.

    Raises:
        UserError: the input cannot be read or is the output, or the columns do not fit.
    """
    check_suffix(target)
    if target.exists() and Path(table.file).exists() and target.samefile(table.file):
        raise UserError(f"{target}: is also the input; choose another --output")
    table.check_text(options.column)
    if options.given:
        table.check_text(options.given, "--given")
    answer = Answerer(model, options.full_names)
    layout = (options.top, options.abstain, options.prefix, shares)
    schema, counts, reason = table.schema, Counter[str](), f"{options.prefix}reason"
    no_names, _ = answer(pa.array([], pa.string()))
    for name, values in answer.columns(no_names, *layout).items():
        if name in table.schema.names:
            raise UserError(
                f"{table.file}: already has a column {brief(name, 60)!r}; "
                "give a --prefix for the new columns"
            )
        schema = schema.append(pa.field(name, values.type))
    with create(target, schema) as write:
        for batch, problems in table.batches():
            names = batch.column(options.column)
            if problems.null_count < len(problems):
                names = pc.if_else(problems.is_null(), names, pa.scalar(None, names.type))
            given = batch.column(options.given) if options.given else None
            answers, index = answer(names, given)
            counts["rows"] += len(index)
            counts["unusable"] += int(np.isnan(answers.probabilities[index, 0]).sum())
            columns = answer.columns(answers, *layout)
            added = {name: values.take(pa.array(index)) for name, values in columns.items()}
            added[reason] = pc.coalesce(problems, added[reason])
            values = zip([*batch.columns, *added.values()], schema, strict=True)
            arrays = [array.cast(field.type) for array, field in values]
            write(pa.record_batch(arrays, schema=schema))
            advance(len(batch))
    counts["unusable"] -= table.unreadable
    counts |= {"computed": answer.computed, "unreadable": table.unreadable}
    return counts, table.first_problem


def predict_folder(
    source: str, folder: Path, options: Options, processes: int, cluster: str | None
) -> tuple[Counts, str]:
    """Write each table of ``source`` to a table of the same name in ``folder``, a task each.

    A table that is there already and newer than its input is left as it is, so a run that was
    stopped goes on where it was.

    Args:
        source: path, folder, glob or URL.
        folder: folder of the tables with answers.
        options: see `add_answers`.
        processes: number of processes on this machine.
        cluster: address of a Dask scheduler to use instead.

    Raises:
        UserError: there is no table, one cannot be read, or the folder holds the answers of
            another model or of other options.
    """
    shards = find_shards(source, folder)
    record = folder / RECORD
    made_with = options._asdict() | {"model": load(options.model).model_hash}
    if not record.exists():
        write_json(record, made_with)
    elif json.loads(record.read_text(encoding="utf-8")) != made_with:
        raise UserError(
            f"{folder}: holds answers of another model or other options; choose another --output"
        )
    undone = [shard for shard in shards if not is_done(*shard)]
    total, first = Counter[str](), ""
    with (
        start_tasks(processes, cluster, folder) as tasks,
        progress("predict", len(undone), "files") as bar,
    ):
        for counts, problem in tasks.map(partial(predict_shard, options=options), undone, few=1):
            total, first = total + counts, first or problem
            bar.update(1)
    done = len(shards) - len(undone)
    print(f"{SUMMARY.format_map(total)}{len(undone)} files to {folder}, {done} were there")
    return total, first


def find_shards(source: str, folder: Path) -> list[tuple[str, Path]]:
    """Inputs and outputs, absolute: workers may run elsewhere."""
    root = source if Path(source).is_dir() else source.split("*")[0].rpartition("/")[0]
    if "://" not in source:  # `Path.resolve` would follow links
        source, root = os.path.abspath(source), os.path.abspath(root)  # noqa: PTH100
    if Path(source).is_dir() and folder.resolve().is_relative_to(Path(source).resolve()):
        raise UserError(f"{folder}: is inside the input; choose another --output")
    files = files_of(source, "choose another --input")
    return [(file, folder.absolute() / file.removeprefix(root).lstrip("/")) for file in files]


def is_done(file: str, target: Path) -> bool:
    """Whether the output is newer than the input."""
    if not target.exists():
        return False
    system, path = fsspec.core.url_to_fs(file)
    return bool(datetime.fromtimestamp(target.stat().st_mtime, UTC) >= system.modified(path))


def predict_shard(shard: tuple[str, Path], options: Options) -> tuple[Counts, str]:
    """Write one table; on one thread, so that the number of processes changes no byte."""
    file, target = shard
    return add_answers(options.table(file), target, load(options.model), options)
