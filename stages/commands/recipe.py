"""`onoma recipe NAME`: a named set of values as flags of `dvc exp run $(onoma recipe fast)`."""

import argparse

# Values that depend on no machine. A recipe has the default's value where it has none.
RECIPES = {
    "default": """model.embedding=64 model.hidden=96 model.layers=1 model.bidirectional=false
        model.character_dropout=0.05 model.wide_ngrams=4 model.wide_words=1.6
        model.wide_frequent=57344 model.wide_rare=286720 train.epochs=3 train.batch_size=512
        train.learning_rate=0.006 train.wide_rate=80.0 train.wide_accumulator=1e-07
        train.label_smoothing=0.02 train.logit_adjustment=0.6""",
    "list": """model.hidden=128 model.character_dropout=0.15 model.wide_words=0.0
        model.wide_frequent=65536 train.epochs=8 train.batch_size=256 train.wide_rate=45.0
        train.wide_accumulator=0.0 train.label_smoothing=0.05 train.logit_adjustment=0.2""",
    "thorough": """model.hidden=192 model.character_dropout=0.15 model.wide_words=0.0
        model.wide_frequent=65536 train.epochs=14 train.batch_size=256 train.wide_rate=45.0
        train.wide_accumulator=0.0 train.label_smoothing=0.05 train.logit_adjustment=0.0""",
    "fast": """model.embedding=32 model.character_dropout=0.0 model.wide_words=0.0
        model.wide_frequent=65536 train.learning_rate=0.016 train.wide_rate=45.0
        train.wide_accumulator=0.0 train.label_smoothing=0.05 train.logit_adjustment=0.2""",
    "seed": """model.embedding=100 model.hidden=100 model.layers=2 model.bidirectional=true
        model.character_dropout=0.0 model.wide_ngrams=0 train.wide_accumulator=0.0 train.epochs=15
        train.batch_size=256 train.learning_rate=0.004 train.label_smoothing=0.05
        train.logit_adjustment=0.2""",
}
ABOUT = (
    "default: the shipped values, for a corpus of people; list: for some thousand names, each "
    "once; thorough: the same, more accurate, in some three times the time; fast: the same, a "
    "point less accurate, in a fraction of the time; seed: the GRU of the lecture notebook"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("name", choices=RECIPES, help=ABOUT)


def run(args: argparse.Namespace) -> None:
    """Print the flags."""
    print(*(f"-S {key}={value}" for key, value in values(args.name).items()))


def values(name: str) -> dict[str, str]:
    """Values of a recipe by their keys in params.yaml."""
    words = f"{RECIPES['default']} {RECIPES[name]}".split()
    return dict(word.split("=") for word in words)
