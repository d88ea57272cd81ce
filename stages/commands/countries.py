"""`onoma countries`: the countries that a model knows, and how well."""

import argparse
import json
from pathlib import Path

from stages.commands.predict import MODEL, percent
from stages.core.text import visible
from stages.serving.bundle import load
from stages.serving.countries import about_countries

HEADER = ("country", "training names", "F1", "in the set", "held-out names", "group")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON object")
    add("--model", type=Path, default=MODEL, metavar="FOLDER", help=f"the model ({MODEL})")


def run(args: argparse.Namespace) -> None:
    """Print a table, or JSON as of /countries."""
    model = load(args.model)
    countries = about_countries(model)
    if args.json:
        about = {"model": model.model_hash, "population": model.population}
        print(json.dumps({**about, "countries": countries}))
        return
    rows: list[tuple[str, ...]] = [HEADER]
    for about in countries:
        names = "?" if about["names"] is None else f"{about['names']:,}"
        f1, coverage = "-", "-"
        if about["held_out"]:
            f1, coverage = f"{about['f1']:.2f}", percent(float(about["coverage"]))
        cells = (about["country"], names, f1, coverage, f"{about['held_out']:,}")
        rows.append((*cells, about["group"] or ""))
    columns = list(zip(*(map(visible, row) for row in rows), strict=True))
    widths = [max(map(len, column)) for column in columns]
    for country, *numbers, group in zip(*columns, strict=True):
        right = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=False)]
        print("  ".join([country.ljust(widths[0]), *right, group]).rstrip())
    print(f"Training names: {visible(model.population)}.")
    print("F1, and how often the country is in the set: of the held-out names, which are few.")
    print("A label says whose lists have a name, not where a person is from.")
