"""The console script `onoma`: finds the module of a command and runs it.

A command is a module of this package with ``add_arguments(parser)`` and ``run(args)``, which
returns an exit status or None. Only the module of the command that is asked for gets imported:
`onoma predict` should not wait for what `onoma serve` needs.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from stages.core.errors import exit_code

COMMANDS = {
    "predict": "say which countries names come from: a few, or a whole file",
    "serve": "answer on a web page and over HTTP, on this machine",
    "recipe": "write a recipe's values of model and training into params.yaml",
    "retrain": "train anew on what has come in; promote the model only if it is better",
    "bench": "compare our recipes with the notebook's classifier and a linear SVM",
    "card": "write docs/model-card.md from the metrics",
}
INTERRUPTED = 130  # as shells report a program stopped by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0, 1 (cannot be done), 2 (wrong usage)."""
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
    assert run is not None, "argparse knows no other command"

    def to_the_end() -> int | None:
        try:
            status: int | None = run(args)
            sys.stdout.flush()
        except BrokenPipeError:  # `onoma predict ... | head`: nobody reads on, which is no fault
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return status

    try:
        return exit_code(to_the_end)
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
