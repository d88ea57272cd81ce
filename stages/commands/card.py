"""`onoma card`: the model card, rendered from params.yaml and the metrics of the last run."""

import argparse
import json
from pathlib import Path

from stages.core.errors import UserError, brief
from stages.core.files import write_text
from stages.core.markdown import inert

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
    import pandas as pd  # of the extra; --help needs none
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError

    from stages.core.params import Params
    from stages.corpus.people import people_files
    from stages.serving.config import Config

    params = Params.load(Path("params.yaml"))
    settings = {**params.model.model_dump(), **params.train.model_dump()}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inert"] = inert
    try:
        metrics = {
            part: json.loads((METRICS / f"{part}.json").read_text(encoding="utf-8"))
            for part in PARTS
        }
        countries = sorted(metrics["countries"].items(), key=lambda item: -item[1]["support"])
        pairs = pd.read_csv(METRICS / "evaluate/confusion.csv")
        confusions = pairs[pairs["actual"] != pairs["predicted"]].sort_values(
            ["share", "rows"], ascending=False, kind="stable"
        )
        text = environment.get_template("card.md").render(
            {**metrics, "countries": countries},
            params=params,
            people=list(people_files(params.evaluate.people)),
            groups=Config.groups_of(list(metrics["countries"]), params.corpus.groups),
            settings={key: value for key, value in settings.items() if key not in MACHINE},
            weakest=sorted(countries, key=lambda item: item[1]["f1"])[:3],
            confusions=confusions.head(CONFUSIONS).to_dict("records"),
        )
    except (OSError, ValueError, KeyError, UndefinedError) as error:
        raise UserError(f"{METRICS}: incomplete: {brief(error)}; run dvc repro") from None
    write_text(args.output, text)
    print(f"card: wrote {args.output}")
