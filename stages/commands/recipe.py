"""`onoma recipe NAME`: a named set of values as flags of `dvc exp run $(onoma recipe fast)`."""

import argparse

# Values that depend on no machine. A recipe has the default's value where it has none.
RECIPES = {
    "default": """model.embedding=64 model.hidden=128 model.layers=1 model.bidirectional=false
        model.character_dropout=0.15 model.wide_ngrams=4 model.wide_buckets=98304
        train.epochs=8 train.batch_size=256 train.learning_rate=0.006""",
    "thorough": "model.hidden=192 train.epochs=14",
    "fast": """model.embedding=32 model.hidden=96 model.character_dropout=0.0
        model.wide_buckets=65536 train.epochs=4 train.batch_size=512 train.learning_rate=0.016""",
    "seed": """model.embedding=100 model.hidden=100 model.layers=2 model.bidirectional=true
        model.character_dropout=0.0 model.wide_ngrams=0
        train.epochs=15 train.learning_rate=0.004""",
}
ABOUT = (
    "default: the shipped values; thorough: more accurate, in some three times the time, small "
    "corpora need it; fast: a point less accurate, in a fraction of the time; seed: the GRU of the "
    "lecture notebook"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("name", choices=RECIPES, help=ABOUT)


def run(args: argparse.Namespace) -> None:
    """Print the flags."""
    print(*(f"-S {key}={value}" for key, value in values(args.name).items()))


def values(name: str) -> dict[str, str]:
    """Key of params.yaml -> value, of a recipe."""
    words = f"{RECIPES['default']} {RECIPES[name]}".split()
    return dict(word.split("=") for word in words)
