"""`onoma card`: the model card, from what the pipeline last produced."""

import argparse
import json
from pathlib import Path
from typing import Any

from stages.commands.model_card import model_card
from stages.core.errors import UserError, brief
from stages.core.files import write_text
from stages.core.params import Params

METRICS = Path("metrics")
CARD = Path("docs/model-card.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--output", type=Path, default=CARD, metavar="FILE", help=f"({CARD})")


def run(args: argparse.Namespace) -> None:
    """Write the card."""
    params = Params.load(Path("params.yaml"))
    metrics = [read(METRICS / f"{s}.json") for s in ("ingest", "evaluate", "baseline", "export")]
    try:
        text = model_card(params, *metrics)
    except KeyError as error:
        raise UserError(f"{METRICS}: no {brief(error)} in it; run dvc repro") from None
    write_text(args.output, text)
    print(f"card: wrote {args.output}")


def read(path: Path) -> Any:
    """One file of metrics."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run dvc repro") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged: {brief(error)}; run dvc repro") from None
