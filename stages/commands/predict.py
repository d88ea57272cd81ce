"""`onoma predict`: names on the command line or on standard input, or a column of a file.

Nothing slow is imported here, so that the first answer comes at once; `stages.commands.bulk`,
which reads files, is imported when a file is given.
"""

import argparse
import itertools
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from stages.core.text import UNSURE, extends_ascii, is_separator, visible
from stages.serving.bundle import DEFAULT, load
from stages.serving.prediction import AMBIGUOUS, REASONS, Prediction
from stages.serving.predictor import Predictor

MAX_LINE_BYTES = 2**16  # of standard input; no usable name is longer
NAMES_AT_ONCE = 1024
SHOWN = 5  # countries of a set in the table


def number(kind: type, low: float, high: float = float("inf")) -> Callable[[str], float]:
    """For argparse: a number of this kind from ``low`` to ``high``."""

    def parse(text: str) -> float:
        value: float = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    parse.__name__ = kind.__name__  # argparse's name for it in errors
    return parse


def checked(accepts: Callable[[str], bool], message: str) -> Callable[[str], str]:
    r"""For argparse: a text that is accepted, in which ``\t`` is a tab."""

    def parse(text: str) -> str:
        text = "\t" if text == "\\t" else text
        if not accepts(text):
            raise argparse.ArgumentTypeError(message)
        return text

    return parse


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare the option of commands that answer by a model."""
    about = f"the model ({DEFAULT})"
    parser.add_argument("--model", type=Path, default=DEFAULT, metavar="FOLDER", help=about)


def add_reading(parser: "argparse._ArgumentGroup | argparse.ArgumentParser") -> None:
    """Declare the options of commands that read tables."""
    separator = checked(is_separator, "must be one ASCII symbol, a blank or a tab, no quote")
    encoding = checked(extends_ascii, "must be a text encoding that extends ASCII")
    add = parser.add_argument
    add("--column", "--surname", default="name", help="with the names, or surnames (name)")
    add("--given", metavar="COLUMN", help="with the given names, if they are in a column")
    add("--separator", type=separator, default=",", metavar="C", help="of a CSV's fields (,)")
    add("--encoding", type=encoding, default="utf-8", metavar="NAME", help="of a CSV (utf-8)")
    about = "the first row of a CSV is no header; its columns are called 1, 2, ..."
    add("--no-header", dest="header", action="store_false", help=about)
    add("--keep-going", action="store_true", help="exit with 0 even if rows cannot be read")


def report_unreadable(count: int, first: str, keep_going: bool) -> int:
    """Say how many rows cannot be read; return the exit status."""
    if count:
        print(f"onoma: {count:,} rows cannot be read; {visible(first)}", file=sys.stderr)
    return int(count > 0 and not keep_going)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    share, rank, processes = number(float, 0, 1), number(int, 1), number(int, 1, 1024)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="default: lines of standard input")
    add("--json", action="store_true", help="one JSON object per name")
    add("--top", type=rank, default=3, metavar="N", help="countries to list (3)")
    about = f"answer `{UNSURE}` below this probability (0)"
    add("--abstain", type=share, default=0.0, metavar="P", help=about)
    add("--full-names", action="store_true", help="find the surname in each name first")
    add_model(parser)
    files = parser.add_argument_group("whole files")
    add = files.add_argument
    kinds = "CSV or .tsv (plain or gzip) or Parquet"
    add("--input", metavar="PATH", help=f"{kinds}: a file, a folder, a glob or a URL")
    about = "a file, - (a CSV to standard output), or a folder: one file for each"
    add("--output", type=Path, metavar="PATH", help=about)
    add("--processes", type=processes, metavar="N", help="for a folder (all processors)")
    add("--cluster", metavar="ADDRESS", help="a Dask scheduler, for a folder: tcp://host:8786")
    add_reading(files)
    add("--prefix", default="", help="for the names of the new columns")
    about = "estimate the shares of the countries in the file, and take them into account"
    add("--reweight", action="store_true", help=about)
    parser.set_defaults(wrong_usage=parser.error)


def run(args: argparse.Namespace) -> int:
    """Answer; the exit status is 1 if a given name is unusable, or a row cannot be read."""
    if args.input or args.output:
        return run_files(args)
    if args.reweight:
        args.wrong_usage("--reweight goes with --input")
    model = load(args.model)
    if args.json:
        print(json.dumps({"model": model.model_hash, "population": model.population}))
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    unusable, has_table = 0, False
    for names in [args.names] if args.names else _portions(sys.stdin.buffer):
        listed = args.top if args.json else len(model.countries)
        answers = model.predict(names, listed, args.abstain, args.full_names)
        objects = (json.dumps(answer.to_json()) for answer in answers)
        for line in objects if args.json else table(model, answers, args.top):
            print(line)
            has_table = not args.json
        for answer in answers:
            unusable += answer.country is None
            if answer.country is None and not args.json:
                print(f"onoma: {answer.name!r:.60}: {answer.reason}", file=sys.stderr)
        sys.stdout.flush()
    if has_table:
        print(caption(model))
    return int(unusable > 0)


def run_files(args: argparse.Namespace) -> int:
    """Answer whole files."""
    if args.names or args.json:
        args.wrong_usage("--input does not go with names or --json")
    if not (args.input and args.output):
        args.wrong_usage("--input and --output go together")
    from stages.commands import bulk
    from stages.corpus.writing import STDOUT

    args.model = args.model.absolute()  # workers may run elsewhere
    options = bulk.Options(*(getattr(args, name) for name in bulk.Options._fields))
    paths, several = (args.input, args.output), Path(args.input).is_dir() or "*" in args.input
    if several and args.output == STDOUT:
        args.wrong_usage("--output - needs one file as --input")
    is_file = args.output == STDOUT or (args.output.suffix and not args.output.is_dir())
    if several or not is_file:
        if args.reweight:
            args.wrong_usage("--reweight needs one file as --input and as --output")
        processes = args.processes or os.cpu_count() or 1
        counts, first = bulk.predict_folder(*paths, options, processes, args.cluster)
    elif args.cluster or args.processes:
        args.wrong_usage("--processes and --cluster need a folder as --output")
    else:
        counts, first = bulk.predict_file(*paths, options, args.reweight)
    return report_unreadable(counts["unreadable"], first, args.keep_going)


def table(model: Predictor, answers: list[Prediction], top: int) -> Iterator[str]:
    """Lines for the usable names; each answer lists all countries of the model.

    There is no column for reasons or other words read where no name has any.
    """
    rows = [("name", "answer", "most probable", "reason", "read as")]
    for answer in answers:
        if answer.country is not None:
            words, ranked = in_words(model, answer), _listed(dict(answer.top[:top]), top)
            rows.append((answer.name, words, ranked, answer.reason or "", answer.read_as or ""))
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    return aligned(zip(*columns, strict=True))


def aligned(rows: Iterable[Iterable[str]], right: Container[int] = ()) -> Iterator[str]:
    """Lines of a table for a terminal; the columns ``right`` are aligned to the right."""
    columns = []
    for number, column in enumerate(zip(*rows, strict=True)):
        cells = list(map(visible, column))
        width = max(map(_width, cells))
        pads = [" " * (width - _width(cell)) for cell in cells]
        parts = (pads, cells) if number in right else (cells, pads)
        columns.append(map("".join, zip(*parts, strict=True)))
    return ("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def in_words(model: Predictor, answer: Prediction) -> str:
    """The countries of the set; after their group's name if it is that of several.

    "Scandinavian 94 %: Norwegian 52 %, Danish 40 %"
    """
    if answer.reason not in (None, REASONS[AMBIGUOUS]):
        return UNSURE
    shares = dict(answer.top)
    chosen = {country: shares[country] for country in answer.set or [answer.top[0][0]]}
    members = model.groups.get(answer.group or "", ())
    inside = {country: share for country, share in chosen.items() if country in members}
    words = _listed(chosen)
    if answer.group_probability is not None and len(inside) > 1:
        words = f"{answer.group} {percent(answer.group_probability)}: {_listed(inside)}"
        if outside := {country: chosen[country] for country in chosen if country not in inside}:
            words += f"; {_listed(outside)}"
    return f"{UNSURE}: {words}" if answer.reason else words


def caption(model: Predictor) -> str:
    """What the probabilities in a table are of."""
    sets = " An answer holds the true one of these with 90 % probability." if model.held_out else ""
    return (
        f"Probabilities are of these {len(model.countries)} countries (onoma --version): a name "
        f"from elsewhere gets one of them, too.{sets}"
    )


def percent(share: float) -> str:
    """A probability as a whole number; none is 0 or 100 %."""
    return "<1 %" if share < 0.005 else ">99 %" if share > 0.995 else f"{share:.0%}"[:-1] + " %"


def _listed(shares: dict[str, float], most: int = SHOWN) -> str:
    more = f" and {len(shares) - most} more" if len(shares) > most else ""
    countries = itertools.islice(shares.items(), most)
    return ", ".join(f"{country} {percent(share)}" for country, share in countries) + more


def _width(text: str) -> int:
    """Columns of a terminal: wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _portions(stream: BinaryIO) -> Iterator[list[str]]:
    """Names of a stream, many at a time; one at a time from a terminal."""
    lines, size = _lines(stream), 1 if stream.isatty() else NAMES_AT_ONCE
    while portion := list(itertools.islice(lines, size)):
        yield portion


def _lines(stream: BinaryIO) -> Iterable[str]:
    """Lines as text; an overlong one is cut, which still leaves it too long for a name."""
    while line := stream.readline(MAX_LINE_BYTES):
        rest = line
        while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES)
        yield line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
