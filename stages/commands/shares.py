"""`onoma shares`: the shares of the countries in a population, from the names in a file."""

import argparse
import csv
import io
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.commands.predict import MODEL, add_reading, report_unreadable
from stages.core.errors import UserError, brief
from stages.core.files import write_json, write_text
from stages.core.progress import progress
from stages.core.text import visible
from stages.corpus.rows import Format
from stages.corpus.tables import Table
from stages.serving.bundle import load
from stages.serving.columns import Answerer
from stages.serving.held_out import reweight
from stages.serving.predictor import REASONS, Predictor
from stages.serving.statistics import Shares, entropy, population_shares

SAMPLE_CELLS = 2**19  # probabilities kept of a population at most: names x countries
MOST_GROUPS = 1000
FEW_NAMES, MUCH_UNSURE, MUCH = 100, 0.2, 0.05  # when a note says that an estimate is doubtful
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
    parser.add_argument(
        "--model", type=Path, default=MODEL, metavar="FOLDER", help=f"the model ({MODEL})"
    )


def run(args: argparse.Namespace) -> int:
    """Estimate, print and write; the exit status is 1 if a row cannot be read."""
    model = load(args.model, threads=os.cpu_count() or 1)
    prior = read_prior(args.prior, model.countries) if args.prior else None
    source = Table(args.input, Format(args.separator, args.encoding))
    groups = read_populations(model, source, args.column, args.full_names, args.by)
    about = {"model": model.model_hash, "population": model.population}
    results = {group: summary(model, population, prior) for group, population in groups.items()}
    for group, result in results.items():
        show(result, f"{args.input}, {args.by} {group}" if args.by else str(args.input))
    print(f"model {model.model_hash}, trained on: {visible(model.population)}")
    if args.json:
        if args.by:
            parts = [{"group": group, **result} for group, result in results.items()]
            write_json(args.json, {**about, "by": args.by, "groups": parts})
        else:
            write_json(args.json, {**about, **results[""]})
    if args.csv:
        text = io.StringIO()
        keys = ("country", "share", "lower", "upper", "plain")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*([args.by] if args.by else []), *keys])
        for group, result in results.items():
            for row in result["shares"]:
                writer.writerow([*([group] if args.by else []), *(row[key] for key in keys)])
        write_text(args.csv, text.getvalue())
    return report_unreadable(source.unreadable, source.first, args.keep_going)


class Population:
    """What is kept of a population's names: counts, sums, and a random sample."""

    def __init__(self, countries: int, seed: int) -> None:
        self.names = 0
        self.unsure: Counter[str] = Counter()
        self.total = np.zeros(countries)
        self.sample = np.empty((0, countries), dtype=np.float32)
        self._rate = 1.0  # share of the names that is in the sample
        self._keys = np.empty(0)
        self._random = np.random.default_rng(seed)
        self._most = max(SAMPLE_CELLS // countries, 100)

    @property
    def used(self) -> int:
        """Names with an answer."""
        return self.names - self.unsure.total()

    def add(self, probabilities: NDArray[np.float32], reasons: NDArray[np.uint8]) -> None:
        """Count names; unusable ones have probabilities of NaN."""
        self.names += len(reasons)
        unusable = np.isnan(probabilities[:, 0])
        self.unsure["unusable"] += int(unusable.sum())
        for n, count in enumerate(np.bincount(reasons[~unusable], minlength=len(REASONS))):
            if n and count:
                self.unsure[str(REASONS[n])] += int(count)
        usable = probabilities[~unusable & (reasons == 0)]
        self.total += usable.sum(axis=0, dtype=np.float64)
        # Each name has a random number; those below a rate, which falls, are the sample.
        keys = self._random.random(len(usable))
        chosen = keys < self._rate
        self._keys = np.concatenate([self._keys, keys[chosen]])
        self.sample = np.concatenate([self.sample, usable[chosen]])
        while len(self.sample) > self._most:
            self._rate /= 2
            kept = self._keys < self._rate
            self._keys, self.sample = self._keys[kept], self.sample[kept]

    def estimate(self, model: Predictor, prior: NDArray[np.float64] | None) -> Shares:
        """The shares; of a population without usable names, nothing is known.

        Raises:
            UserError: the model was trained without held-out rows.
        """
        known = model.held_out
        if known is None:
            raise UserError(
                "the model has no held-out rows; set index.calibration above 0 and run dvc repro"
            )
        nothing = np.zeros(len(self.total))
        if not self.used:
            return Shares(nothing, nothing, nothing + 1, False)
        if prior is None:
            mean = self.total / self.used
            parts = (known.prior, known.probabilities, known.labels)
            return population_shares(self.sample, mean, *parts)
        table = reweight(self.sample, known.prior, prior)
        shares = table.mean(axis=0)
        half = 1.96 * table.std(axis=0) / np.sqrt(len(table))
        return Shares(shares, np.maximum(shares - half, 0), np.minimum(shares + half, 1), True)


def read_populations(
    model: Predictor, source: Table, column: str, full_names: bool = False, by: str | None = None
) -> dict[str, Population]:
    """Read a table; return the population of each group, in order of appearance.

    Rows that cannot be read are left out; ``source`` counts them.

    Raises:
        UserError: the file cannot be read, has no such column, no names or too many groups.
    """
    path = source.file
    source.check_text(column)
    if by is not None and source.schema.names.count(by) != 1:
        there = brief(", ".join(source.schema.names), 300)
        raise UserError(f"{path}: has no column {brief(by, 60)!r}; use --by, one of: {there}")
    answer = Answerer(model, full_names)
    groups: dict[str, Population] = {}
    with progress("shares", total=source.rows, unit="rows") as bar:
        for batch, problems in source.batches():
            if problems.null_count < len(problems):
                batch = batch.filter(problems.is_null())
            places = answer(batch.column(column))
            if by is None:
                values, index = [""], np.zeros(len(places), dtype=np.int64)
            else:
                encoded = batch.column(by).cast(pa.string()).fill_null("").dictionary_encode()
                values, index = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
            for n, value in enumerate(values):
                if value not in groups:
                    if len(groups) == MOST_GROUPS:
                        raise UserError(f"{path}: column {by!r} has over {MOST_GROUPS:,} values")
                    groups[value] = Population(len(model.countries), seed=len(groups))
                rows = places[index == n]
                groups[value].add(answer.probabilities[rows], answer.reasons[rows])
            bar.update(len(places))
    if not any(population.names for population in groups.values()):
        raise UserError(f"{path}: has no names")
    return groups


def read_prior(path: Path, countries: tuple[str, ...]) -> NDArray[np.float64]:
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
    found = dict(pairs)
    for country in [*countries, *found]:
        if country not in found or country not in countries:
            what = "has no share of" if country not in found else "has an unknown country"
            raise UserError(
                f"{path}: {what} {brief(country, 60)!r}; it needs the model's countries"
            )
    shares = np.array([found[country] for country in countries])
    if len(pairs) != len(found) or not (shares >= 0).all() or abs(shares.sum() - 1) > 0.005:
        raise UserError(f"{path}: the shares must be 0 or more, one for each country, and sum to 1")
    return np.asarray(shares / shares.sum())


def summary(
    model: Predictor, population: Population, prior: NDArray[np.float64] | None
) -> dict[str, Any]:
    """The result for one population, as JSON values: the largest share first."""
    found = population.estimate(model, prior)
    known = model.held_out
    assert known is not None
    notes = []
    effective, plain = 0.0, population.total / max(population.used, 1)
    if not population.used:
        notes.append("no name can be used: nothing is known about the shares")
    else:
        # Names of known country that would tell as much: the share of entropy that is removed.
        before = entropy(found.shares[None])[0]
        after = entropy(reweight(population.sample, known.prior, found.shares)).mean()
        effective = population.used * float(1 - after / before) if before > 0 else 0.0
        if effective < FEW_NAMES:
            notes.append(f"few names: they tell as much as {effective:.0f} of known country")
    if population.unsure.total() > MUCH_UNSURE * population.names:
        share = population.unsure.total() / population.names
        notes.append(f"{share:.0%} of the names are unsure: the shares are of the others alone")
    for country in np.flatnonzero(found.shares > MUCH):
        rows = known.labels == country
        if not rows.any():
            notes.append(f"{model.countries[country]}: no held-out rows, so nothing checks it")
            continue
        own = known.probabilities[rows].mean(axis=0)
        if own.argmax() != country or own[country] < 0.5:
            other = int(np.argsort(own)[-1 if own.argmax() != country else -2])
            notes.append(
                f"{model.countries[country]} is hard to tell from {model.countries[other]}"
            )
    table = [
        {"country": name, "share": share, "lower": lower, "upper": upper, "plain": mean}
        for name, share, lower, upper, mean in zip(
            model.countries,
            *(
                np.round(values, 6).tolist()
                for values in (found.shares, found.lower, found.upper, plain)
            ),
            strict=True,
        )
    ]
    return {
        "names": population.names,
        "unsure": {reason: count for reason, count in population.unsure.items() if count},
        "effective_names": round(effective),
        "method": "prior" if prior is not None else "em" if found.shifted else "mean",
        "notes": notes,
        "shares": sorted(table, key=lambda row: -row["share"]) if population.used else [],
    }


def show(result: Mapping[str, Any], title: str) -> None:
    """Print a table with bars."""
    unsure = ", ".join(f"{reason} {count:,}" for reason, count in result["unsure"].items())
    print(
        f"{visible(title)}: {result['names']:,} names, unsure: {unsure or 'none'}; "
        f"they tell as much as {result['effective_names']:,} names of known country"
    )
    rows = result["shares"][:SHOWN]
    width = max((len(visible(row["country"])) for row in rows), default=0)
    if rows:
        print(f"{'country':{width}}   share  95 % interval    plain")
    for row in rows:
        share, lower, upper, plain = (
            100 * row[key] for key in ("share", "lower", "upper", "plain")
        )
        bar = "█" * round(BAR * row["share"] / max(rows[0]["share"], 1e-9))
        interval = f"{lower:5.1f} to {upper:5.1f}"
        country = f"{visible(row['country']):{width}}"
        print(f"{country}  {share:5.1f} %  {interval}  {plain:5.1f} %  {bar}".rstrip())
    for note in result["notes"]:
        print(f"note: {visible(note)}")
