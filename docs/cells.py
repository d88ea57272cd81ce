"""Compare the recurrent cells on a corpus: python docs/cells.py --train A.csv.gz --test B.csv.gz.

Runs the pipeline up to evaluate once per cell and direction, with the default recipe otherwise and
one thread; prints the table of docs/model.md and draws docs/cells.png.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
CELLS = [(cell, both) for both in (True, False) for cell in ("rnn", "gru", "lstm")]


def measure(cell: str, both: bool, train: Path, test: Path) -> dict:
    """Scores, accuracy per epoch and seconds of one run."""
    keys = {
        "ingest.train": train.resolve(),
        "ingest.test": test.resolve(),
        "model.cell": cell,
        "model.bidirectional": str(both).lower(),
        "train.threads": 1,
    }
    sets = [part for key, value in keys.items() for part in ("-S", f"{key}={value}")]
    start = time.perf_counter()
    subprocess.run(["dvc", "exp", "run", "--force", "evaluate", *sets], cwd=ROOT, check=True)
    seconds = time.perf_counter() - start
    scores, epochs = (
        json.loads((ROOT / f"metrics/{name}.json").read_text(encoding="utf-8"))
        for name in ("evaluate", "epochs")
    )
    return {"cell": cell, "both": both, "seconds": seconds, **scores, **epochs}


def table(runs: list[dict]) -> str:
    """Markdown."""
    lines = ["| cell | reads | accuracy | macro-F1 | NLL | seconds |", "|---|---|--:|--:|--:|--:|"]
    for run in runs:
        reads = "both ways" if run["both"] else "forwards"
        scores = " | ".join(f"{run[name]:.4f}" for name in ("accuracy", "macro_f1", "nll"))
        lines.append(f"| {run['cell']} | {reads} | {scores} | {run['seconds']:.0f} |")
    return "\n".join(lines)


def draw(runs: list[dict]) -> None:
    """Test accuracy per epoch."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    colours = {"rnn": "tab:green", "gru": "tab:blue", "lstm": "tab:orange"}
    for run in runs:
        curve = list(run["test_accuracy"].values())
        style = "-" if run["both"] else "--"
        label = f"{run['cell']}, {'both ways' if run['both'] else 'forwards'}"
        epochs = range(1, len(curve) + 1)
        axes.plot(epochs, curve, style, color=colours[run["cell"]], label=label)
    axes.set(title="Test accuracy per epoch, by cell", xlabel="epoch", ylabel="accuracy")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(ROOT / "docs/cells.png", dpi=100, metadata={"Software": None})


def main() -> None:
    """Run all, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    args = parser.parse_args()
    runs = [measure(cell, both, args.train, args.test) for cell, both in CELLS]
    print(table(runs))
    draw(runs)


if __name__ == "__main__":
    main()
