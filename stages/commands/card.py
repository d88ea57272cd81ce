"""`onoma card`: the model card, rendered from params.yaml and the metrics of the last run."""

import argparse
import json
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError

from stages.commands.rendering import write_from_template
from stages.core.errors import UserError, brief
from stages.core.params import Params

METRICS = Path("metrics")
CARD = Path("docs/model-card.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--output", type=Path, default=CARD, metavar="FILE", help=f"({CARD})")


def run(args: argparse.Namespace) -> None:
    """Write the card."""
    params = Params.load(Path("params.yaml"))
    metrics = {part: _read(part) for part in ("ingest", "evaluate", "baseline", "export")}
    try:
        countries = sorted(
            metrics["evaluate"]["per_country"].items(), key=lambda item: -item[1]["support"]
        )
        write_from_template(
            args.output,
            "card.md",
            **metrics,
            params=params,
            settings={**params.model.model_dump(), **params.train.model_dump()},
            countries=countries,
            weakest=sorted(countries, key=lambda item: item[1]["f1"])[:3],
        )
    except (KeyError, UndefinedError) as error:
        raise UserError(f"{METRICS}: incomplete: {brief(error)}; run dvc repro") from None
    print(f"card: wrote {args.output}")


def _read(part: str) -> Any:
    path = METRICS / f"{part}.json"
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run dvc repro") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged: {brief(error)}; run dvc repro") from None
