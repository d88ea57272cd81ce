"""`onoma recipe`: write a recipe's values of model and training into params.yaml.

The stages read params.yaml alone, so a value that is set afterwards is the one that counts.
"""

import argparse
import io
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.core.files import write_text
from stages.core.params import Params

PARAMS = Path("params.yaml")
RECIPES = {
    "default": "as shipped",
    "thorough": "more accurate, in some three times the time; small corpora need it",
    "fast": "a point less accurate, in a fraction of the time",
    "seed": "the GRU of the lecture notebook",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    about = "; ".join(f"{name}: {what}" for name, what in RECIPES.items())
    parser.add_argument("name", choices=RECIPES, help=about)
    parser.add_argument(
        "--flags",
        action="store_true",
        help="change nothing; print `-S KEY=VALUE ...` for dvc exp run",
    )


def run(args: argparse.Namespace) -> None:
    """Write params.yaml, or print the flags."""
    values = load(args.name)
    if args.flags:
        for block, changes in values.items():
            print(*(f"-S {block}.{key}={_text(value)}" for key, value in changes.items()))
        return
    Params.load(PARAMS)
    text = PARAMS.read_text(encoding="utf-8")
    changed = apply(text, values)
    Params.check(YAML(typ="safe", pure=True).load(changed), PARAMS)
    if changed == text:
        print(f"recipe: {PARAMS} has the values of {args.name} already")
    else:
        write_text(PARAMS, changed)
        print(f"recipe: wrote {args.name} into {PARAMS}; see git diff {PARAMS}")


def load(name: str) -> dict[str, dict[str, Any]]:
    """Values of a recipe, by block and key; keys that it leaves out have the default's value."""
    folder = files("stages.commands") / "recipes"
    default, recipe = (
        YAML(typ="safe", pure=True).load((folder / f"{part}.yaml").read_text(encoding="utf-8"))
        for part in ("default", name)
    )
    return {block: default[block] | recipe.get(block, {}) for block in default}


def apply(text: str, values: dict[str, dict[str, Any]]) -> str:
    """The YAML ``text`` with other values; comments and order stay."""
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 2**16
    yaml.representer.add_representer(
        type(None), lambda it, _: it.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    document = yaml.load(text)
    for block, changes in values.items():
        for key, value in changes.items():
            if document[block][key] != value:
                document[block][key] = value
                if comment := document[block].ca.items.get(key):
                    comment[2].column = 0  # one space after the value, whatever its length
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
