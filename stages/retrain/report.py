"""report.md of one retrain: the verdict, and what changed since the champion."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.files import write_text
from stages.core.markdown import inert
from stages.retrain.checkout import Checkout
from stages.retrain.drift import distances

SCORES = ("metrics/evaluate.json", "metrics/baseline.json")


def write(checkout: Checkout, outcome: str, reason: str, *paragraphs: str) -> None:
    """Write the report; ``outcome`` is promoted, rejected or failed."""
    text = joined(f"# Retrain: {outcome}", inert(reason), *paragraphs)
    write_text(checkout.home / "report.md", text)


def joined(*paragraphs: str) -> str:
    """Text of those paragraphs that are not empty."""
    return "\n\n".join(part.strip() for part in paragraphs if part.strip()) + "\n"


def history(checkout: Checkout, champion: str | None) -> str:
    """The commit built on, and the commits and changed data since the champion's commit."""
    head = checkout.git("rev-parse", "--short=10", "HEAD")
    built_on = f"Built on commit {head} of branch {inert(checkout.branch)}"
    if not champion:
        return f"{built_on}; there was no champion."
    options = ("--no-merges", "--max-count=50", "--format=%h %an: %s")
    changes = checkout.git("log", *options, f"{champion}..HEAD").splitlines()
    data = checkout.git("diff", "--name-only", champion, "--", "data").splitlines()
    changes += [f"{file} (changed)" for file in data]
    items = "".join(f"\n- {inert(change)}" for change in changes)
    return f"{built_on}; the champion's commit is {champion[:10]}.\n{items}"


def differences(checkout: Checkout, champion: str) -> str:
    """What DVC says of metrics and params since the champion's commit."""
    metrics = ("metrics", "diff", "--md", "--precision", "4", champion[:10], "--targets", *SCORES)
    return joined(checkout.dvc(*metrics), checkout.dvc("params", "diff", "--md", champion[:10]))


def drift(old: Path, new: Path) -> str:
    """How far the new training names are from the old ones."""
    parts = ", ".join(f"{part} {apart:.4f}" for part, apart in distances(old, new).items())
    return f"Drift of the training names (Jensen-Shannon; 0: equal, 1: disjoint): {parts}."


def comparison(verdict: Mapping[str, Any]) -> str:
    """The gate's numbers as a table; without a champion, the challenger's."""
    lines = ["| | champion | challenger | difference | interval | margin |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for metric, score in verdict["challenger"].items():
        line = f"| {metric} | | {score:.4f} | | | |"
        if m := verdict.get("champion", {}).get(metric):
            line = (
                f"| {metric} | {m['champion']:.4f} | {m['challenger']:.4f} | "
                f"{m['difference']:+.4f} | {m['lower']:+.4f} to {m['upper']:+.4f} | "
                f"{m['margin']:+.4f} |"
            )
        lines.append(line)
    return "\n".join(lines)
