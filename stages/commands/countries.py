"""`onoma countries`: the countries that a model knows, and how well."""

import argparse
import json

from stages.commands.predict import add_model, aligned, percent
from stages.core.text import visible
from stages.serving.bundle import load
from stages.serving.countries import about_countries

HEADER = ("country", "training names", "F1", "in the set", "held-out names", "group")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Print a table, or JSON as of /countries."""
    model = load(args.model)
    countries = about_countries(model)
    if args.json:
        about = {"model": model.model_hash, "population": model.population}
        print(json.dumps({**about, "countries": [each._asdict() for each in countries]}))
        return
    rows = [HEADER]
    for country, group, names, held_out, f1, coverage in countries:
        scores = (
            "-" if f1 is None else f"{f1:.2f}",
            "-" if coverage is None else percent(coverage),
        )
        known = "?" if names is None else f"{names:,}"
        rows.append((country, known, *scores, f"{held_out:,}", group or ""))
    print(*aligned(rows, right=range(1, 5)), sep="\n")
    print(f"Training names: {visible(model.population)}.")
    print("F1, and how often the country is in the set: of the held-out names, which are few.")
    print("A label says whose lists have a name, not where a person is from.")
