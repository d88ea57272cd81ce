"""`onoma retrain`: replace the champion if a newly trained model is better; for a scheduler."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--push",
        action="store_true",
        help="build on origin's branch, and push data, commit and tags of a promoted model "
        "there; without it the commit goes to the local branch retrained",
    )


def run(args: argparse.Namespace) -> int:
    """Retrain in the project of the current folder."""
    from stages.retrain.command import retrain  # needs the extra; --help does not

    return retrain(Path.cwd(), args.push)
