"""report.md of one retrain: the verdict, and what changed since the champion."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.spatial.distance import jensenshannon

from stages.core.files import write_text
from stages.core.markdown import inert
from stages.retrain.checkout import Checkout

SCORES = ("metrics/evaluate.json", "metrics/baseline.json")


def write(checkout: Checkout, outcome: str, reason: str, *paragraphs: str) -> None:
    """Write the report; ``outcome`` is promoted, rejected or failed."""
    text = [f"# Retrain: {outcome}", inert(reason), *paragraphs]
    write_text(checkout.home / "report.md", "\n\n".join(text) + "\n")


def history(checkout: Checkout, champion: str) -> str:
    """The commit built on, and the commits and changed data since the champion's commit."""
    options = ("--no-merges", "--max-count=50", "--format=%h %an: %s")
    commits = checkout.call("git", "log", *options, f"{champion}..HEAD").splitlines()
    files = checkout.call("git", "diff", "--name-only", champion, "--", "data").splitlines()
    changes = [inert(change) for change in (*commits, *(f"{file} (changed)" for file in files))]
    head = checkout.call("git", "rev-parse", "--short=10", "HEAD")
    built_on = f"Built on commit {head} of branch {inert(checkout.branch)}"
    text = f"{built_on}; the champion's commit is {champion[:10]}.\n"
    return "\n- ".join([text, *changes])


def differences(checkout: Checkout, champion: str) -> str:
    """What DVC says of metrics and params since the champion's commit."""
    metrics = ("metrics", "diff", "--md", "--precision", "4", champion[:10], "--targets", *SCORES)
    params = ("params", "diff", "--md", champion[:10])
    return "\n\n".join(checkout.call("dvc", *options) for options in (metrics, params))


def comparison(verdict: Mapping[str, Any]) -> str:
    """The gate's numbers of accuracy and macro-F1 as a table."""
    columns = ("champion", "challenger", "difference", "lower", "upper", "margin")
    lines = [f"| | {' | '.join(columns)} |", "|---" + "|---:" * len(columns) + "|"]
    for metric in verdict["challenger"]:
        if row := verdict["champion"].get(metric):
            lines.append(f"| {metric} | {' | '.join(f'{row[c]:+.4f}' for c in columns)} |")
    return "\n".join(lines)


def drift(old: Path, new: Path) -> str:
    """How far the training names of ``new`` are from those of ``old``; both are Parquet files."""
    distances = []
    for part, *pair in zip(("countries", "characters"), _counts(old), _counts(new), strict=True):
        distance = jensenshannon(*pd.DataFrame(pair).fillna(0).to_numpy(), base=2)
        # Rounding can give the root of a number just below 0.
        distances.append(f"{part} {np.nan_to_num(distance):.4f}")
    about = "Drift of the training names (Jensen-Shannon; 0: equal, 1: disjoint)"
    return f"{about}: {', '.join(distances)}."


def _counts(table: Path) -> tuple[Counter[str], Counter[str]]:
    """Rows of each country and occurrences of each character, counted batch by batch."""
    countries, characters = Counter[str](), Counter[str]()
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(columns=["name", "country"]):
            countries.update(batch["country"].to_pylist())
            characters.update("".join(batch["name"].to_pylist()))
    return countries, characters
