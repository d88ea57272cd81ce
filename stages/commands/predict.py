"""`onoma predict`: names on the command line or on standard input, or a column of a file.

Nothing heavy is imported here: the first answer is what people wait for. Files are read by
`stages.commands.bulk`, which is imported when one is given.
"""

import argparse
import itertools
import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from stages.corpus.normalize import Rejected
from stages.serving import onnx_bundle
from stages.serving.predictor import UNSURE, Prediction, Predictor

MODEL = Path("data/onnx")
MAX_LINE_BYTES = 2**16  # of standard input; no usable name is longer
NAMES_AT_ONCE = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: lines of standard input")
    parser.add_argument("--json", action="store_true", help="one JSON object per name")
    parser.add_argument(
        "--top", type=_count, default=3, metavar="N", help="how many countries to list (3)"
    )
    parser.add_argument(
        "--abstain",
        type=_share,
        default=0.0,
        metavar="P",
        help=f"answer `{UNSURE}` below this probability (0)",
    )
    parser.add_argument(
        "--model", type=Path, default=MODEL, metavar="FOLDER", help=f"the model ({MODEL})"
    )
    files = parser.add_argument_group("whole files")
    files.add_argument("--input", type=Path, metavar="FILE", help=".csv, .csv.gz or .parquet")
    files.add_argument("--output", type=Path, metavar="FILE", help="the same three")
    files.add_argument("--column", default="name", help="where the names stand (name)")
    files.add_argument(
        "--prefix", default="", help="put before the names of the new columns, country and so on"
    )
    parser.set_defaults(wrong_usage=parser.error)


def run(args: argparse.Namespace) -> int:
    """Answer; the exit status is 1 if some name is unusable."""
    if args.input or args.output:
        if args.names or args.json:
            args.wrong_usage("--input does not go with names or --json")
        if not (args.input and args.output):
            args.wrong_usage("--input and --output go together")
        from stages.commands.bulk import predict_file

        return predict_file(args, load(args.model))

    model = load(args.model)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    bad = 0
    for names in [args.names] if args.names else _portions(sys.stdin.buffer):
        answers, reasons = ask(model, names, args.top, args.abstain)
        bad += len(reasons)
        if args.json:
            by_name = iter(answers)
            for row, name in enumerate(names):
                print(_json_error(name, reasons[row]) if row in reasons else _json(next(by_name)))
        else:
            for line in table(answers):
                print(line)
            for row, reason in reasons.items():
                print(f"onoma: {names[row]!r:.60}: {reason}", file=sys.stderr)
        sys.stdout.flush()
    return int(bad > 0)


def load(folder: Path) -> Predictor:
    """The model in ``folder``: by ONNX Runtime, or by torch if it is a bundle of weights."""
    weights = folder / "model.safetensors"
    if weights.exists() and not (folder / onnx_bundle.MODEL).exists():
        import torch

        from stages.serving import bundle

        torch.set_num_threads(1)  # two threads for products this small wait more than they work
        return bundle.load(folder)
    return onnx_bundle.load(folder)


def ask(
    model: Predictor, names: list[str], top: int, abstain: float
) -> tuple[list[Prediction], dict[int, str]]:
    """Answers for the usable names, and row -> reason for the others."""
    reasons: dict[int, str] = {}
    for row, name in enumerate(names):
        try:
            model.normalise(name)
        except Rejected as reason:
            reasons[row] = str(reason)
    usable = [name for row, name in enumerate(names) if row not in reasons]
    return model.predict(usable, top, abstain), reasons


def table(answers: list[Prediction]) -> Iterator[str]:
    """Lines for people: name, country, probability, and the countries that come next."""
    rows = [("name", "country", "probability", "next")]
    for name, country, probability, top in answers:
        others = top if country == UNSURE else top[1:]
        listed = ", ".join(f"{other} {share:.1%}" for other, share in others)
        rows.append((name, country, f"{probability:.1%}", listed))
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    for row in rows if answers else []:
        cells = [cell + " " * (n - _width(cell)) for cell, n in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def _width(text: str) -> int:
    """Columns of a terminal: Chinese characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _json(answer: Prediction) -> str:
    top = [{"country": country, "probability": share} for country, share in answer.top]
    return json.dumps(
        {
            "name": answer.name,
            "country": answer.country,
            "probability": answer.probability,
            "top": top,
        }
    )


def _json_error(name: str, reason: str) -> str:
    return json.dumps({"name": name, "error": reason})


def _portions(stream: BinaryIO) -> Iterator[list[str]]:
    """Names of a stream, many at once; one at once where somebody is typing."""
    lines = _lines(stream)
    size = 1 if stream.isatty() else NAMES_AT_ONCE
    while portion := list(itertools.islice(lines, size)):
        yield portion


def _lines(stream: BinaryIO) -> Iterable[str]:
    """Lines as text; of an endless one no more than its start, which is too long for a name."""
    while line := stream.readline(MAX_LINE_BYTES):
        rest = line
        while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES)
        yield line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1")
    return value


_count.__name__, _share.__name__ = "count", "share"  # what argparse calls them in its errors
