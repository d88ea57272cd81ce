"""What each ingredient contributes: python tests/benchmarks/ablation.py --train A --test B.

Queues one DVC experiment per variant and seed. Each holds out a fifth of the training names, and
the table of docs/model.md compares the scores on these; the test names are not used. Experiments
that have succeeded are not run again.
"""

import argparse
import json
import re
import statistics
import subprocess
from pathlib import Path

from dvc.api import exp_show

ROOT = Path(__file__).resolve().parents[2]
VARIANTS: dict[str, dict[str, object]] = {  # the default recipe, and one thing changed
    "default": {},
    "no-wide-term": {"model.wide_ngrams": 0},
    "no-character-dropout": {"model.character_dropout": 0.0},
    "no-dropout": {"model.dropout": 0.0},
    "dropout-.4": {"model.dropout": 0.4},
    "no-label-smoothing": {"train.label_smoothing": 0.0},
    "no-logit-adjustment": {"train.logit_adjustment": 0.0},
    "no-weight-decay": {"train.weight_decay": 0.0},
    "wide-rate-1": {"train.wide_rate": 1.0},
    "constant-rate": {"train.schedule": "constant", "train.learning_rate": 0.001},
    "65536-wide-buckets": {"model.wide_buckets": 65536},
    "262144-wide-buckets": {"model.wide_buckets": 262144},
    "both-ways": {"model.bidirectional": "true"},
    "lstm": {"model.cell": "lstm"},
    "rnn": {"model.cell": "rnn"},
    "learning-rate-.004": {"train.learning_rate": 0.004},
    "learning-rate-.009": {"train.learning_rate": 0.009},
    "hidden-64": {"model.hidden": 64},
    "hidden-192": {"model.hidden": 192},
    "20-epochs": {"train.epochs": 20},
    "512-names-a-step": {"train.batch_size": 512},
}


def queue(name: str, seed: int, base: list[str], train: Path, test: Path) -> None:
    """Put one experiment into DVC's queue; ``base``: KEY=VALUE that holds for all variants."""
    keys = {
        "ingest.train": train.resolve(),
        "ingest.test": test.resolve(),
        "index.validation": 0.2,
        "index.calibration": 0.0,
        "index.seed": seed,
        "train.seed": seed,
        **VARIANTS[name],
    }
    sets = [*base, *(f"{key}={value}" for key, value in keys.items())]
    options = [part for one in sets for part in ("-S", one)]
    named = ["--name", experiment(name, seed, base)]
    command = ["dvc", "exp", "run", "--queue", *named, *options, "train"]
    subprocess.run(command, cwd=ROOT, check=True)


def experiment(name: str, seed: int, base: list[str]) -> str:
    """Its name."""
    return re.sub(r"[^\w.]+", "-", "-".join(["ablation", name, str(seed), *base]))


def finished() -> set[str]:
    """Names of the experiments that have ended well."""
    return {row["Experiment"] for row in exp_show(str(ROOT)) if row["State"] is None}


def scores(name: str, seed: int, base: list[str]) -> tuple[float, float]:
    """Accuracy and loss on the names held out, after the last epoch."""
    ref = f"refs/exps/*/*/{experiment(name, seed, base)}"
    found = ["git", "for-each-ref", "--format=%(refname)", ref]
    (ref,) = subprocess.check_output(found, cwd=ROOT, text=True).split()
    curves = json.loads(
        subprocess.check_output(["git", "show", f"{ref}:metrics/epochs.json"], cwd=ROOT)
    )
    return tuple(list(curves[f"validation_{what}"].values())[-1] for what in ("accuracy", "loss"))


def table(names: list[str], seeds: range, base: list[str]) -> str:
    """Markdown; differences are to the default with the same seed and names held out."""
    lines = ["| recipe | accuracy | difference | NLL | difference |", "|---|--:|--:|--:|--:|"]
    bar = [scores("default", seed, base) for seed in seeds]
    for name in names:
        row = [scores(name, seed, base) for seed in seeds]
        cells = [name.replace("-", " ")]
        for place in range(2):
            mine, theirs = ([score[place] for score in part] for part in (row, bar))
            apart = [one - two for one, two in zip(mine, theirs, strict=True)]
            spread = f"{statistics.fmean(apart):+.4f} ± {statistics.stdev(apart):.4f}"
            cells += [f"{statistics.fmean(mine):.4f}", "" if name == "default" else spread]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Queue what is missing, run it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="experiments at a time (2)")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="for all of them")
    args = parser.parse_args()
    names = list(dict.fromkeys(["default", *args.only]))
    seeds = range(1, args.seeds + 1)
    done = finished()
    for seed in seeds:
        for name in names:
            if experiment(name, seed, args.set) not in done:
                queue(name, seed, args.set, args.train, args.test)
    subprocess.run(["dvc", "exp", "run", "--run-all", f"--jobs={args.jobs}"], cwd=ROOT, check=True)
    print(table(names, seeds, args.set))


if __name__ == "__main__":
    main()
