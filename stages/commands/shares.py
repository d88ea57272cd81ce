"""`onoma shares`: the shares of the countries in a population, from the names in a file."""

import argparse
import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.commands.predict import add_model, add_reading, aligned, report_unreadable
from stages.core.errors import UserError, brief
from stages.core.files import write_csv, write_json
from stages.core.text import visible
from stages.serving.bundle import load
from stages.serving.held_out import Floats

BAR, SHOWN = 40, 25  # width of the longest bar, and countries in a table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("input", type=Path, metavar="FILE", help=".csv, .csv.gz or .parquet")
    add_reading(parser)
    parser.add_argument("--by", metavar="COLUMN", help="estimate for each value of this column")
    parser.add_argument(
        "--prior", type=Path, metavar="FILE", help="CSV of country,share, instead of an estimate"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the shares as CSV")
    parser.add_argument("--full-names", action="store_true", help="find the surname in each name")
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Estimate, print and write; the exit status is 1 if a row cannot be read."""
    import pandas as pd  # of the extra; --help needs none

    from stages.corpus.rows import Format
    from stages.corpus.tables import Table
    from stages.serving.populations import read_populations

    model = load(args.model, threads=os.cpu_count() or 1)
    prior = read_prior(args.prior, model.countries) if args.prior else None
    source = Table(args.input, Format(args.separator, args.encoding, header=args.header))
    groups = read_populations(model, source, args.column, args.full_names, args.by, args.given)
    about = {"model": model.model_hash, "population": model.population}
    results = {group: population.summary(prior) for group, population in groups.items()}
    for group, result in results.items():
        show(result, f"{args.input}, {args.by} {group}" if args.by else f"{args.input}")
    print(f"model {model.model_hash}, trained on: {visible(model.population)}")
    if args.json:
        parts = [{"group": group, **result} for group, result in results.items()]
        whole = {"by": args.by, "groups": parts} if args.by else results[""]
        write_json(args.json.resolve(), about | whole)
    if args.csv:
        columns = [args.by, "country", "share", "lower", "upper", "plain"]
        rows = ((group, *row.values()) for group in results for row in results[group]["shares"])
        table = pd.DataFrame(rows, columns=columns)
        write_csv(args.csv.resolve(), table if args.by else table.iloc[:, 1:])
    return report_unreadable(source.unreadable, source.first_problem, args.keep_going)


def read_prior(path: Path, countries: tuple[str, ...]) -> Floats:
    """Shares from a CSV of country,share.

    Raises:
        UserError: a country is missing, unknown or there twice, or the shares do not sum to 1.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
        pairs = [(country, float(share)) for country, share in rows if share != "share"]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, csv.Error):
        raise UserError(f"{path}: each line must be country,share, the share a number") from None
    shares = dict(pairs)
    for country in sorted(shares.keys() ^ set(countries)):
        what = "has no share of" if country not in shares else "has an unknown country"
        raise UserError(f"{path}: {what} {brief(country, 60)!r}; it needs the model's countries")
    prior = np.array([shares[country] for country in countries])
    if len(pairs) != len(shares) or not (prior >= 0).all() or abs(prior.sum() - 1) > 0.005:
        raise UserError(f"{path}: the shares must be 0 or more, one for each country, and sum to 1")
    return np.asarray(prior / prior.sum())


def show(result: Mapping[str, Any], title: str) -> None:
    """Print a table with bars."""
    unsure = ", ".join(f"{reason} {count:,}" for reason, count in result["unsure"].items())
    print(
        f"{visible(title)}: {result['names']:,} names, unsure: {unsure or 'none'}; "
        f"they tell as much as {result['effective_names']:,} names of known country"
    )
    rows = [("country", "share", "95 % interval", "plain", "")]
    for row in result["shares"][:SHOWN]:
        country, *shares = row.values()
        share, lower, upper, plain = (f"{100 * value:5.1f}" for value in shares)
        bar = "█" * round(BAR * row["share"] / max(result["shares"][0]["share"], 1e-9))
        rows.append((country, f"{share} %", f"{lower} to {upper}", f"{plain} %", bar))
    if rows[1:]:
        print(*aligned(rows, right=range(1, 4)), sep="\n")
    if rest := result["shares"][SHOWN:]:
        share = 100 * sum(row["share"] for row in rest)
        print(f"and {len(rest)} more countries with {share:.1f} % together")
    for note in result["notes"]:
        print(f"note: {visible(note)}")
