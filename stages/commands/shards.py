"""`onoma predict --input ... --output FOLDER`: every table is a task, here or on a cluster."""

import json
from functools import partial
from pathlib import Path

from stages.commands.bulk import Counts, Options, add_answers
from stages.corpus.tables import SUFFIXES
from stages.core.errors import Interrupted, UserError
from stages.core.files import write_json
from stages.core.interrupt import StopRequest
from stages.core.progress import Progress
from stages.corpus.tasks import start_tasks
from stages.serving.bundle import load

DONE_BY = ".onoma-predict.json"  # in the output folder: what its tables were made with
Shard = tuple[Path, Path]  # input, output


def predict_shards(
    source: Path, folder: Path, options: Options, processes: int, cluster: str | None
) -> Counts:
    """Write each table of ``source`` to a table of the same name in ``folder``.

    A table that is there already and newer than its input is left as it is, so a run that was
    stopped goes on where it was.

    Raises:
        UserError: there is no table, one cannot be read, or the folder holds the answers of
            another model or of other options.
    """
    shards = find_shards(source, folder)
    folder.mkdir(parents=True, exist_ok=True)
    check_done_by(folder, options)
    left = [shard for shard in shards if not is_done(*shard)]
    total = Counts()
    with (
        StopRequest() as stop,
        start_tasks(processes, cluster, folder) as tasks,
        Progress("predict", total=len(left), unit="files") as progress,
    ):
        for counts in tasks.map(partial(predict_shard, options=options), left, few=1):
            total += counts
            progress.advance(1)
            if stop.reason:
                raise Interrupted(f"stopped by {stop.reason}; run again to go on")
    there = len(shards) - len(left)
    print(f"predict: {total}; wrote {len(left)} files to {folder}, {there} were there")
    return total


def find_shards(source: Path, folder: Path) -> list[Shard]:
    """Inputs and outputs, absolute: workers may run elsewhere."""
    source, folder = source.absolute(), folder.absolute()
    if not source.is_dir():
        return [(source, folder / source.name)]
    found = [path for path in source.rglob("*") if path.name.lower().endswith(SUFFIXES)]
    if folder.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{folder}: is inside the input; choose another --output")
    if not found:
        raise UserError(f"{source}: has no file that ends in one of {', '.join(SUFFIXES)}")
    return [(path, folder / path.relative_to(source)) for path in sorted(found)]


def check_done_by(folder: Path, options: Options) -> None:
    """Note in the folder what its tables are made with, or compare with the note that is there."""
    note = vars(options) | {"model": load(options.model).model_hash}
    path = folder / DONE_BY
    if not path.exists():
        write_json(path, note)
    elif json.loads(path.read_text(encoding="utf-8")) != note:
        raise UserError(
            f"{folder}: holds answers of another model or other options; choose another --output"
        )


def is_done(path: Path, target: Path) -> bool:
    """Whether the output is newer than the input."""
    return target.exists() and target.stat().st_mtime >= path.stat().st_mtime


def predict_shard(shard: Shard, options: Options) -> Counts:
    """Write one table; on one thread, so that the number of processes changes no byte."""
    return add_answers(options.source(shard[0]), shard[1], load(options.model), options)
