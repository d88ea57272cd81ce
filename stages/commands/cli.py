"""The console script `onoma`.

A command is a module of this package with ``add_arguments(parser)`` and ``run(args)``, which
returns an exit status or None. Only the requested command's module is imported, so that
`onoma predict` does not wait for the imports of the others.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from stages.core.errors import exit_code

COMMANDS = {
    "predict": "predict the countries of names: a few, or a whole file",
    "shares": "estimate the shares of countries in a population of names",
    "serve": "serve a web page and an HTTP API on this machine",
    "recipe": "print a recipe as flags of dvc exp run",
    "retrain": "retrain on new data; promote the model only if it is better",
    "card": "write docs/model-card.md from the metrics",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0, 1 (failed), 2 (wrong usage), 130 (Ctrl-C)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="onoma", description="Which country does a surname come from?"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = None
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        if arguments[:1] == [name]:
            module = import_module(f"stages.commands.{name}")
            module.add_arguments(command)
            run = module.run
    args = parser.parse_args(arguments)
    assert run is not None, "argparse accepts no other command"

    def run_and_flush() -> int | None:
        try:
            status: int | None = run(args)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of `onoma predict ... | head` has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return status

    return exit_code(run_and_flush)


if __name__ == "__main__":
    sys.exit(main())
