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
from typing import Any

from stages.core.errors import UserError, exit_code

COMMANDS = {
    "predict": "predict the countries of names: a few, or a whole file",
    "shares": "estimate the shares of countries in a population of names",
    "countries": "list the countries that a model knows, and how well",
    "serve": "serve a web page and an HTTP API on this machine",
    "recipe": "print a recipe as flags of dvc exp run",
    "retrain": "retrain on new data; promote the model only if it is better",
    "card": "write docs/model-card.md from the metrics",
}


class Version(argparse.Action):
    """``--version``: print what answers, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the version, and of the model: hash, countries, corpus."""
        from onoma import __version__
        from stages.core.text import visible
        from stages.serving import bundle

        print(f"onoma {__version__}")
        try:
            model = bundle.load()
        except UserError as error:
            print(f"no model: {error}")
        else:
            print(f"model {model.model_hash} ({bundle.DEFAULT}), asked for names: {model.reads}")
            print(f"corpus: {visible(model.population)}")
            countries = ", ".join(map(visible, model.countries))
            print(f"{len(model.countries)} countries: {countries}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0, 1 (failed), 2 (wrong usage), 130 (Ctrl-C)."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # the parent process closed it: `onoma ... >&-`
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    return exit_code(lambda: _run(sys.argv[1:] if arguments is None else list(arguments)))


def _run(arguments: list[str]) -> int | None:
    parser = argparse.ArgumentParser(
        prog="onoma", description="Which country does a name come from?"
    )
    parser.add_argument("--version", action=Version, nargs=0, help="what answers, by which model")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        if arguments[:1] == [name]:
            module = import_module(f"{__package__}.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    try:
        try:
            args = parser.parse_args(arguments)
            status: int | None = args.run(args)
            return status
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of `onoma predict ... | head` has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
