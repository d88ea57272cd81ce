"""This pipeline on the full names of name2nat, whose README scores a BiGRU on them.

    python -m tests.benchmarks.name2nat FOLDER

Writes train.csv.gz and test.csv.gz to FOLDER, runs ingest, index and train there with params.yaml
as name2nat.yaml changes it, and prints the figures of the test rows. A killed training resumes when
the same command runs again, and a finished one is scored again.

The split: a hash of the full name puts eight tenths of the names into train and one into test; the
last tenth, which the peer develops on, is left out. A row is a full name and one of its
nationalities: a name of two people, American and British, has two rows, both in one part, and of
its two test rows top-1 gets one at most. The peer scores rows as well, but draws its parts row by
row: a name in its test may be in its train, with another nationality. Test rows whose name ingest
refuses, or whose nationality no training row has, count as wrong.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ruamel.yaml import YAML

from stages.corpus.dataset import Names
from stages.model.metrics import top_accuracy
from stages.serving.torch_bundle import load_model
from stages.training.inference import all_logits
from tests.benchmarks.common import options
from tests.conftest import ROOT, run

import people_counts  # isort: skip  # data/raw
from name_lists import download  # isort: skip

PARTS = 8 * ["train"] + ["dev", "test"]
TOP = (1, 2, 3, 5)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("folder", type=Path, help="a project of its own; it may hold the results")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    write_params(folder)
    if not (folder / "data/model/config.json").exists():
        rows = split(people_counts.load(download("name2nat")))
        for part in ("train", "test"):
            pd.DataFrame(rows[part]).to_csv(folder / f"{part}.csv.gz", header=False, index=False)
        for name in ("ingest", "index", "train"):
            command = ("env", f"PYTHONPATH={ROOT}", "python", "-m", f"stages.{name}")
            run(folder, *command, capture_output=False, timeout=None, check=True)
    print(f"name2nat: {test(folder)}")


def split(table: dict[str, list[str]]) -> dict[str, list[tuple[str, str]]]:
    """Rows of (full name, nationality) of each part."""
    rows: dict[str, list[tuple[str, str]]] = {part: [] for part in PARTS}
    for full, nationalities in table.items():
        drawn = int.from_bytes(hashlib.sha256(full.encode()).digest()[:8])
        rows[PARTS[drawn % len(PARTS)]] += [(full, nationality) for nationality in nationalities]
    return rows


def write_params(folder: Path) -> None:
    """Write params.yaml: the project's, with the values of name2nat.yaml."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(ROOT / "params.yaml")
    for block, values in yaml.load(Path(__file__).with_suffix(".yaml")).items():
        params[block] |= values
    params["ingest"] |= {"train": "train.csv.gz", "test": "test.csv.gz", "header": "no"}
    yaml.dump(params, folder / "params.yaml")


def test(folder: Path) -> str:
    """Shares of all test rows whose nationality is among the most probable ones."""
    asked = len(pd.read_csv(folder / "test.csv.gz", header=None))
    model, _ = load_model(folder / "data/model", torch.device("cpu"))
    names = Names.load(folder / "data/index/test")
    logits, labels = all_logits(model, names, 1024), np.asarray(names.labels)
    answered = len(names) / asked
    shares = (f"top-{top} {top_accuracy(logits, labels, top) * answered:.4f}" for top in TOP)
    return f"{', '.join(shares)} of {asked:,} test rows, {asked - len(names):,} not asked"


if __name__ == "__main__":
    main()
