"""`onoma card`: the model card, rendered from params.yaml and the metrics of the last run."""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import UndefinedError

from stages.commands.rendering import write_from_template
from stages.core.errors import UserError, brief
from stages.core.params import Params
from stages.corpus.people import people_files
from stages.serving.config import Config

METRICS = Path("metrics")
CARD = Path("docs/model-card.md")
PARTS = ("ingest", "evaluate", "countries", "details", "baseline", "export")
MACHINE = {"device", "processes", "threads", "precision", "checkpoint_minutes"}
CONFUSIONS = 8  # listed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--output", type=Path, default=CARD, metavar="FILE", help=f"({CARD})")


def run(args: argparse.Namespace) -> None:
    """Write the card."""
    params = Params.load(Path("params.yaml"))
    metrics = {part: json.loads(_read(METRICS / f"{part}.json")) for part in PARTS}
    settings = {**params.model.model_dump(), **params.train.model_dump()}
    try:
        countries = sorted(metrics["countries"].items(), key=lambda item: -item[1]["support"])
        write_from_template(
            args.output,
            "card.md",
            **{**metrics, "countries": countries},
            params=params,
            people=list(people_files(params.evaluate.people)),
            groups=Config.groups_of(list(metrics["countries"]), params.corpus.groups),
            settings={key: value for key, value in settings.items() if key not in MACHINE},
            weakest=sorted(countries, key=lambda item: item[1]["f1"])[:3],
            confusions=confusions(METRICS / "evaluate/confusion.csv"),
        )
    except (KeyError, UndefinedError) as error:
        raise UserError(f"{METRICS}: incomplete: {brief(error)}; run dvc repro") from None
    print(f"card: wrote {args.output}")


def confusions(path: Path) -> list[dict[Any, Any]]:
    """The pairs of actual and predicted country with the largest shares of the actual one."""
    _read(path)
    pairs = pd.read_csv(path)
    worst = pairs[pairs["actual"] != pairs["predicted"]].sort_values(
        ["share", "rows"], ascending=False, kind="stable"
    )
    return [dict(row) for _, row in worst.head(CONFUSIONS).iterrows()]


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            json.loads(text)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run dvc repro") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged: {brief(error)}; run dvc repro") from None
    return text
