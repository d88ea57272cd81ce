"""Draw the pictures of README.md from metrics/: python tests/benchmarks/draw.py."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
DOCS, METRICS = ROOT / "docs", ROOT / "metrics"


def accuracy() -> None:
    """Accuracy per epoch on the training and the test names."""
    figure, axes = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
    for split in ("train", "test"):
        path = METRICS / f"train/plots/metrics/{split}/accuracy.tsv"
        curve = pd.read_csv(path, sep="\t")
        axes.plot(curve["step"], curve["accuracy"], marker="o", markersize=3, label=split)
    axes.set(title="Accuracy per epoch", xlabel="epoch", ylabel="accuracy")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(DOCS / "accuracy.png", dpi=100, metadata={"Software": None})


def confusion() -> None:
    """Share of each actual country that is predicted as each country."""
    pairs = pd.read_csv(METRICS / "evaluate/confusion.csv")
    matrix = pairs.pivot(index="actual", columns="predicted", values="share").fillna(0.0)
    figure, axes = plt.subplots(figsize=(5.4, 4.8), layout="constrained")
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(matrix.columns)), matrix.columns, rotation=90, fontsize=7)
    axes.set_yticks(range(len(matrix.index)), matrix.index, fontsize=7)
    axes.set(title="Confusion matrix", xlabel="predicted", ylabel="actual")
    figure.colorbar(image, label="share of the actual country")
    figure.savefig(DOCS / "confusion.png", dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    accuracy()
    confusion()
