"""Stage index: clean names -> vocabulary, country index and flat code arrays.

Reads data/clean; writes data/index. Vocabulary and countries come from the training file alone.
"""

import shutil
import sys
import tempfile
from collections import Counter
from functools import partial, reduce
from pathlib import Path

import numpy as np
import pandas as pd

from stages.core.errors import UserError, exit_code
from stages.core.files import write_json
from stages.core.params import IndexParams, Params
from stages.core.progress import progress
from stages.corpus.dataset import LABEL, append
from stages.corpus.splits import (
    SPLITS,
    HoldOut,
    RowGroup,
    Survey,
    distinct_names,
    encode,
    row_groups,
    survey,
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
    for unfinished in INDEX.glob(".new.*"):  # of a run that was killed
        shutil.rmtree(unfinished)
    with (
        tempfile.TemporaryDirectory(dir=INDEX, prefix=".new.") as scratch,
        start_tasks(params.ingest.processes, params.ingest.cluster, INDEX) as tasks,
    ):
        new, names = Path(scratch), Counter[str]()
        test_names = pd.Index(np.unique(np.concatenate([*tasks.map(distinct_names, test)])))
        hold_out, surveyed = survey_train(train, params.index, test_names, tasks)
        counts = surveyed.characters.reindex(range(UNICODE), fill_value=0).to_numpy()
        vocabulary = Vocabulary.from_counts(counts, params.index.case, params.index.min_count)
        countries = sorted(surveyed.countries.index)
        if len(countries) > np.iinfo(LABEL).max:
            raise UserError(f"{len(countries)} countries; {np.iinfo(LABEL).max} is the most")
        groups = [*((group, hold_out) for group in train), *((group, None) for group in test)]
        seen = test_names[surveyed.seen]
        encoded = partial(encode, vocabulary=vocabulary, countries=countries, seen=seen)
        with progress("index", total=sum(group.rows for group in train + test)) as bar:
            for splits in tasks.map(encoded, groups):
                for split, rows in splits.items():
                    append(new / split, rows)
                    names[split] += len(rows)
                bar.update(sum(map(len, splits.values())))
        config = {"vocabulary": vocabulary.to_config(), "countries": countries}
        write_json(new / "vocabulary.json", config)
        replace(new)
    sizes = ", ".join(f"{names[split]} {split}" for split in SPLITS if names[split])
    print(f"index: {len(vocabulary)} codes, {len(countries)} countries, {sizes} names")


def survey_train(
    groups: list[RowGroup], params: IndexParams, test_names: pd.Index, tasks: Tasks
) -> tuple[HoldOut, Survey]:
    """Survey the training file, with what is held out such that each country is trained on."""
    hold_out = HoldOut(params)
    while True:
        survey_group = partial(survey, hold_out=hold_out, test_names=test_names)
        surveyed = reduce(Survey.merge, tasks.map(survey_group, groups))
        needed = surveyed.countries.loc[~surveyed.countries["trained"], "name"]
        if needed.empty:
            return hold_out, surveyed
        hold_out = HoldOut(params, hold_out.kept | {*needed})


def replace(new: Path) -> None:
    """Put the new index in the place of the old: vocabulary.json goes first and comes last."""
    (INDEX / "vocabulary.json").unlink(missing_ok=True)
    for split in SPLITS:
        shutil.rmtree(INDEX / split, ignore_errors=True)
        if (new / split).exists():
            (new / split).rename(INDEX / split)
    (new / "vocabulary.json").rename(INDEX / "vocabulary.json")


if __name__ == "__main__":
    sys.exit(exit_code(main))
