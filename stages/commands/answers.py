"""The probabilities that one checkout's model gives a table of names, for the retrain gate.

It runs in a process of its own, in the checkout whose code made the model: a champion is scored
by the code it was promoted with.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from stages.core.errors import exit_code
from stages.core.files import atomic_path
from stages.serving.bundle import load


def main() -> None:
    """``python -m stages.commands.answers MODEL NAMES.parquet OUT.npz``."""
    bundle, names, out = (Path(argument) for argument in sys.argv[1:])
    model = load(bundle)
    table = pd.read_parquet(names, columns=["name"])
    probabilities = model.predict_proba(table["name"])
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        np.savez(file, countries=np.array(model.countries), probabilities=probabilities)


if __name__ == "__main__":
    sys.exit(exit_code(main))
