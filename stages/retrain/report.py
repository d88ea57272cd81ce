"""What one retrain found: report.md, and report.html with the same text and the plots."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from stages.commands.rendering import write_from_template
from stages.retrain import command
from stages.retrain.checkout import Checkout
from stages.retrain.drift import Profile, drift

SCORES = ("metrics/evaluate.json", "metrics/baseline.json")
WIDTH, HEIGHT = 420, 200  # of a chart, in CSS pixels
MOST = 40  # countries in the confusion matrix

Facts = dict[str, Any]


def circumstances(checkout: Checkout, champion: str | None) -> Facts:
    """The commit built on, and the commits and data since the champion's commit."""
    log, sources = [], []
    if champion:
        options = ("--no-merges", "--max-count=50", "--format=%h %an: %s")
        log = checkout.git("log", *options, f"{champion}..HEAD").splitlines()
        old, new = _sources(checkout, champion), _sources(checkout)
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                state = "new" if name not in old else "changed" if name in new else "gone"
                sources.append(f"{name} ({state})")
    return {
        "commit": checkout.git("rev-parse", "--short=10", "HEAD"),
        "branch": checkout.branch,
        "champion": champion and champion[:10],
        "log": log,
        "sources": sources,
    }


def results(
    checkout: Checkout, champion: str | None, old: Path | None, verdict: Mapping[str, Any]
) -> Facts:
    """What the report says about a finished training.

    Args:
        checkout: holds the challenger.
        champion: commit of the champion.
        old: folder with its training data.
        verdict: of the gate.
    """
    folder = checkout.folder
    epochs = {"challenger": json.loads(checkout.read("metrics/epochs.json"))}
    metrics = params = ""
    if champion:
        epochs["champion"] = json.loads(checkout.read("metrics/epochs.json", champion) or "{}")
        options = ("--md", "--precision", "4", champion[:10], "--targets", *SCORES)
        metrics = checkout.dvc("metrics", "diff", *options)
        params = checkout.dvc("params", "diff", "--md", champion[:10])
    return {
        "verdict": {"promote": "promoted", "reject": "rejected"}[verdict["verdict"]],
        "reason": verdict["reason"],
        "gate": verdict,
        "metrics": metrics,
        "params": params if params.count("\n") > 3 else "",  # an empty table: nothing changed
        "ingest": json.loads(checkout.read("metrics/ingest.json")),
        "drift": drift(_profile(old), _profile(folder)) if old else None,
        "charts": [chart(measure, epochs) for measure in ("accuracy", "loss")],
        "confusion": confusion(pd.read_csv(folder / "metrics/evaluate/confusion.csv")),
    }


def write(folder: Path, facts: Facts) -> None:
    """Write report.md and report.html."""
    write_from_template(folder / "report.md", "report.md", **facts)
    text = (folder / "report.md").read_text(encoding="utf-8")
    write_from_template(folder / "report.html", "report.html", text=text, **facts)


def commit_message(facts: Facts) -> str:
    """Subject with the accuracy, the reason, and the differences from the champion."""
    scores = facts["gate"]["challenger"]
    subject = f"Retrain: accuracy {scores['accuracy']:.4f}, macro-F1 {scores['macro_f1']:.4f}"
    data = [f"data: {source}" for source in facts["sources"]]
    parts = [subject, facts["reason"], "\n".join(data), facts["metrics"], facts["params"]]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def chart(measure: str, epochs: Mapping[str, Mapping[str, Any]]) -> Facts:
    """A line for each model and split as points of an SVG polyline, and the range of values."""
    lines = {
        f"{model}-{split}": list(curves[f"{split}_{measure}"].values())
        for model, curves in epochs.items()
        for split in ("train", "test")
        if f"{split}_{measure}" in curves
    }
    values = [value for line in lines.values() for value in line]
    low, high, last = min(values), max(values), max(1, max(map(len, lines.values())) - 1)
    points = {
        name: " ".join(
            f"{n / last * WIDTH:.1f},{(high - value) / ((high - low) or 1) * HEIGHT:.1f}"
            for n, value in enumerate(line)
        )
        for name, line in lines.items()
    }
    size = {"width": WIDTH, "height": HEIGHT}
    return {"measure": measure, "points": points, "low": low, "high": high, "last": last} | size


def confusion(pairs: pd.DataFrame) -> Facts:
    """Rows of shares: actual country -> predicted country -> share; the largest countries only."""
    support = pairs.groupby("actual")["rows"].sum().sort_values(ascending=False, kind="stable")
    largest = sorted(support.index[:MOST])
    shares = pairs.pivot(index="actual", columns="predicted", values="share")
    shares = shares.reindex(index=largest, columns=largest).fillna(0)
    return {"shares": shares.T.to_dict(), "left_out": len(support) - len(largest)}


def _profile(folder: Path) -> Profile:
    """Count over the training names without holding them in memory."""
    found = Profile()
    with pq.ParquetFile(folder / command.TRAIN) as table:
        for batch in table.iter_batches(columns=["name", "country"]):
            found.add(batch["name"].to_pylist(), batch["country"].to_pylist())
    return found


def _sources(checkout: Checkout, commit: str | None = None) -> Facts:
    """The state of the data that no stage makes, as dvc.lock has it."""
    stages = command.lock(checkout, commit).values()
    made = {out["path"] for stage in stages for out in stage.get("outs", [])}
    return {
        dep["path"]: dep
        for stage in stages
        for dep in stage.get("deps", [])
        if dep["path"] not in made
        # The log of commits covers the code.
        and not dep["path"].startswith("stages/")
        and not dep["path"].endswith((".py", ".txt"))
    }
