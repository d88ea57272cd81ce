"""Accuracy on the test names, written otherwise.

    python tests/benchmarks/robustness.py [--model data/onnx]

Run in a checkout with data/clean and data/onnx; prints the table of docs/model.md.
"""

import argparse
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from stages.serving.bundle import load


def plain(name: str) -> str:
    """Without accents."""
    return "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))


FORMS: dict[str, Callable[[str], str]] = {
    "as in the corpus": str,
    "UPPER CASE": str.upper,
    "lower case": str.lower,
    "decomposed (NFD)": lambda name: unicodedata.normalize("NFD", name),
    "other apostrophes": lambda name: name.replace("'", "’"),
    "blanks around": lambda name: f"  {name} ",
    "without accents": plain,
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--model", type=Path, default=Path("data/onnx"))
    args = options.parse_args()
    model = load(args.model)
    test = pd.read_parquet("data/clean/test.parquet")
    ascii_only = test["name"].str.fullmatch(r"[\x00-\x7f]+")
    print("| form | accuracy | of names in ASCII | unsure |\n|---|---:|---:|---:|")
    for form, write in FORMS.items():
        answers = model.ask([write(name) for name in test["name"]])
        best = np.array(model.countries)[answers.probabilities.argmax(axis=1)]
        right = best == test["country"].to_numpy()
        unsure = (answers.reasons > 0).mean()
        print(f"| {form} | {right.mean():.4f} | {right[ascii_only].mean():.4f} | {unsure:.3f} |")


if __name__ == "__main__":
    main()
