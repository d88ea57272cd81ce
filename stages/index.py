"""Stage index: clean names -> vocabulary, country index and flat code arrays.

Reads data/clean; writes data/index. Vocabulary and countries come from the training file alone.
"""

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages.core.errors import UserError, exit_code
from stages.core.files import write_json
from stages.core.params import IndexParams, Params
from stages.core.progress import Progress
from stages.corpus.dataset import LABEL, allocate
from stages.corpus.splits import (
    SPLITS,
    Encoder,
    HoldOut,
    RowGroup,
    Sizes,
    Survey,
    row_groups,
    survey,
    survey_test,
)
from stages.corpus.tasks import Tasks, start_tasks
from stages.corpus.vocabulary import UNICODE, Vocabulary

CLEAN = Path("data/clean")
INDEX = Path("data/index")


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml"))
    train, test = ([*row_groups(CLEAN / f"{split}.parquet")] for split in ("train", "test"))
    INDEX.mkdir(parents=True, exist_ok=True)
    for left in INDEX.glob(".new.*"):  # of a run that was killed
        shutil.rmtree(left)
    with (
        tempfile.TemporaryDirectory(dir=INDEX, prefix=".new.") as scratch,
        start_tasks(params.ingest.processes, params.ingest.cluster, INDEX) as tasks,
    ):
        new = Path(scratch).absolute()
        test_sizes, test_names = zip(*tasks.map(survey_test, test), strict=True)
        asked = pd.Index(np.unique(np.concatenate(test_names)))
        hold_out, train_sizes, found = look_through(train, params.index, asked, tasks)
        counts = found.characters.reindex(range(UNICODE), fill_value=0).to_numpy()
        vocabulary = Vocabulary.from_counts(counts, params.index.case, params.index.min_count)
        countries = sorted(found.countries.index)
        if len(countries) > np.iinfo(LABEL).max:
            raise UserError(f"{len(countries)} countries; {np.iinfo(LABEL).max} is the most")
        sizes = np.stack([*train_sizes, *test_sizes])
        total = sizes.sum(axis=0)
        for split, (names, codes) in zip(SPLITS, total.tolist(), strict=True):
            if names or split == "test":
                allocate(new / split, names, codes, vocabulary.dtype)
        encoder = Encoder(new, vocabulary, countries, asked[found.seen])
        groups = [*((group, hold_out) for group in train), *((group, None) for group in test)]
        before = sizes.cumsum(axis=0) - sizes
        with Progress("index", total=int(total[:, 0].sum())) as progress:
            for rows in tasks.map(
                encoder.write, ((*group, rows) for group, rows in zip(groups, before, strict=True))
            ):
                progress.advance(rows)
        write_json(
            new / "vocabulary.json",
            {"vocabulary": vocabulary.to_config(), "countries": countries},
        )
        replace(new)
    print(
        f"index: {len(vocabulary)} codes, {len(countries)} countries, "
        + ", ".join(f"{n} {split}" for split, n in zip(SPLITS, total[:, 0], strict=True) if n)
        + " names"
    )


def look_through(
    groups: list[RowGroup], params: IndexParams, asked: pd.Index, tasks: Tasks
) -> tuple[HoldOut, list[Sizes], Survey]:
    """Survey the training file, with what is held out such that each country is trained on.

    Args:
        groups: of the training file.
        params: shares to hold out.
        asked: the distinct test names.
        tasks: do the work.

    Returns:
        What is held out, the sizes of each row group's splits, and what stands in all of them.
    """
    hold_out = HoldOut(params)
    while True:
        sizes, characters, countries, seen = [], [], [], np.zeros(len(asked), dtype=bool)
        for size, found in tasks.map(partial(survey, hold_out=hold_out, asked=asked), groups):
            sizes.append(size)
            characters.append(found.characters)
            countries.append(found.countries)
            seen |= found.seen
        country = pd.concat(countries).groupby(level=0).agg({"name": "first", "trained": "any"})
        lost = country.loc[~country["trained"], "name"]
        if lost.empty:
            everything = pd.concat(characters).groupby(level=0).sum()
            return hold_out, sizes, Survey(everything, country, seen)
        hold_out = HoldOut(params, hold_out.kept | {*lost})


def replace(new: Path) -> None:
    """Put the new index in the place of the old: vocabulary.json goes first and comes last."""
    (INDEX / "vocabulary.json").unlink(missing_ok=True)
    for split in SPLITS:
        shutil.rmtree(INDEX / split, ignore_errors=True)
        if (new / split).exists():
            (new / split).rename(INDEX / split)
    (new / "vocabulary.json").rename(INDEX / "vocabulary.json")


if __name__ == "__main__":
    sys.exit(exit_code(main, Path(".onoma/index.lock")))
