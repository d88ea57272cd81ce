"""What one retrain found, for people: report.md and report.html, each a single file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from ruamel.yaml import YAML

from stages.commands.retrain.checkout import Checkout
from stages.commands.retrain.drift import Profile, drift
from stages.core.files import write_text

TRAIN = "data/clean/train.parquet"
SCORES = "metrics/evaluate.json"
WIDTH, HEIGHT = 420, 200  # of a chart, in CSS pixels
MOST = 40  # countries in the confusion matrix

Facts = dict[str, Any]


def gather(
    checkout: Checkout, champion: str | None, old: Path | None, verdict: Mapping[str, Any]
) -> Facts:
    """Collect what the report tells about a finished training.

    Args:
        checkout: holds the challenger.
        champion: commit of the champion.
        old: folder with its training data.
        verdict: of the gate.
    """
    folder = checkout.folder
    epochs = {"challenger": _json(folder / "metrics/epochs.json")}
    if champion:
        epochs["champion"] = json.loads(checkout.show(champion, "metrics/epochs.json") or "{}")
    return {
        **_circumstances(checkout, champion),
        "verdict": {"promote": "promoted", "reject": "rejected"}[verdict["verdict"]],
        "reason": verdict["reason"],
        "gate": verdict,
        "params": _changes(checkout, "params", champion),
        "metrics": _changes(checkout, "metrics", champion, SCORES, "metrics/baseline.json"),
        "ingest": _json(folder / "metrics/ingest.json"),
        "drift": drift(profile(old / TRAIN), profile(folder / TRAIN)) if old else None,
        "charts": [
            chart(title, measure, epochs)
            for title, measure in (("Accuracy per epoch", "accuracy"), ("Loss per epoch", "loss"))
        ],
        "confusion": confusion(pd.read_csv(folder / "metrics/evaluate/confusion.csv")),
    }


def failure(checkout: Checkout, champion: str | None, reason: str) -> Facts:
    """What can be told of a retrain that came to no verdict."""
    return {**_circumstances(checkout, champion), "verdict": "failed", "reason": reason}


def write(folder: Path, facts: Facts) -> None:
    """Write report.md and report.html."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["cell"] = _cell
    for name in ("report.md", "report.html"):
        write_text(folder / name, templates.get_template(name).render(facts))


def commit_message(facts: Facts) -> str:
    """Subject with the accuracy, then the differences from the champion, then the reason."""
    scores = facts["gate"]["challenger"]
    subject = f"Retrain: accuracy {scores['accuracy']:.4f}, macro-F1 {scores['macro_f1']:.4f}"
    lines = [
        f"{change['name']}: {change['old']} -> {change['new']}"
        for change in (*facts["metrics"], *facts["params"])
        if change["old"] != "-"
    ]
    sources = [f"data: {source}" for source in facts["sources"]]
    return "\n".join([subject, "", facts["reason"], "", *sources, *lines]).strip() + "\n"


def profile(path: Path) -> Profile:
    """Count over a table of names without holding it in memory."""
    found = Profile()
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches():
            found.add(batch["name"].to_pylist(), batch["country"].to_pylist())
    return found


def chart(title: str, measure: str, epochs: Mapping[str, Mapping[str, Any]]) -> Facts:
    """A line per model and split as points of an SVG polyline, and the ends of the value axis."""
    found = {
        f"{model} {split}": list(epochs[model][f"{split}_{measure}"].values())
        for model in epochs
        for split in ("train", "test")
        if f"{split}_{measure}" in epochs[model]
    }
    values = [value for series in found.values() for value in series]
    low, high = min(values), max(values)
    steps = max(1, max(map(len, found.values())) - 1)

    def points(series: Sequence[float]) -> str:
        scale = (high - low) or 1
        return " ".join(
            f"{n / steps * WIDTH:.1f},{(high - value) / scale * HEIGHT:.1f}"
            for n, value in enumerate(series)
        )

    lines = [
        {"name": name, "kind": name.replace(" ", "-"), "points": points(s), "last": s[-1]}
        for name, s in found.items()
    ]
    size = {"width": WIDTH, "height": HEIGHT}
    return {"title": title, "lines": lines, "low": low, "high": high, "epochs": steps + 1, **size}


def confusion(pairs: pd.DataFrame) -> Facts:
    """Shares of each actual country that were predicted as each; the largest countries only."""
    support = pairs.groupby("actual")["rows"].sum()
    countries = sorted(support.sort_values(ascending=False, kind="stable").index[:MOST])
    place = {country: n for n, country in enumerate(countries)}
    cells = [
        {
            "row": place[actual],
            "column": place[predicted],
            "share": share,
            "what": f"{actual} as {predicted}: {rows} rows",
        }
        for actual, predicted, rows, share in pairs.itertuples(index=False)
        if actual in place and predicted in place
    ]
    return {"countries": countries, "cells": cells, "left_out": len(support) - len(countries)}


def _circumstances(checkout: Checkout, champion: str | None) -> Facts:
    """What was built on what, and what came in between: by whom, and from which sources."""
    head = checkout.git("rev-parse", "HEAD")
    log: list[dict[str, str]] = []
    if champion:
        said = checkout.git(
            "log", "--no-merges", "--max-count=50", "--format=%h%x00%an%x00%s", f"{champion}..HEAD"
        )
        keys = ("commit", "author", "subject")
        log = [dict(zip(keys, line.split("\0"), strict=True)) for line in said.splitlines()]
    return {
        "commit": head[:10],
        "branch": checkout.branch,
        "champion": champion[:10] if champion else None,
        "log": log,
        "sources": _changed_sources(checkout, champion) if champion else [],
    }


def _changed_sources(checkout: Checkout, champion: str) -> list[str]:
    """Data that no stage makes, and whose content is not what the champion was trained on."""
    path = checkout.folder / "dvc.lock"
    texts = [checkout.show(champion, "dvc.lock"), path.read_text() if path.exists() else None]
    old, new = (_sources(text or "") for text in texts)
    return [
        f"{name} ({'changed' if name in old else 'new'})"
        for name, state in sorted(new.items())
        if old.get(name) != state
    ] + [f"{name} (gone)" for name in sorted(old.keys() - new.keys())]


def _sources(text: str) -> dict[str, Any]:
    stages = (YAML(typ="safe", pure=True).load(text) or {}).get("stages", {})
    made = {out["path"] for stage in stages.values() for out in stage.get("outs", [])}
    return {
        dep["path"]: {key: value for key, value in dep.items() if key != "path"}
        for stage in stages.values()
        for dep in stage.get("deps", [])
        # Code is told by the log of commits.
        if dep["path"] not in made and not dep["path"].endswith((".py", ".txt"))
    }


def _changes(
    checkout: Checkout, what: str, champion: str | None, *targets: str
) -> list[dict[str, str]]:
    """Scalars that differ, as DVC compares them; per-country figures have a table of their own."""
    if champion is None:
        return []
    said = checkout.dvc(
        what, "diff", "--json", champion, *(("--targets", *targets) * bool(targets))
    )
    found = json.loads(said or "{}")
    return [
        {
            "name": name if what == "params" else f"{Path(file).stem}.{name}",
            "old": _number(change.get("old")),
            "new": _number(change.get("new")),
            "diff": f"{change['diff']:+.4f}" if isinstance(change.get("diff"), float) else "",
        }
        for file, changes in sorted(found.items())
        for name, change in sorted(changes.items())
        if not name.startswith("per_country.")
    ]


def _number(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _cell(value: object) -> str:
    """Text that cannot leave its cell of a Markdown table, nor become HTML there."""
    text = " ".join(str(value).split())
    for mark, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'")):
        text = text.replace(mark, safe)
    return text


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())
