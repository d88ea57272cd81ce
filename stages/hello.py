"""Stage hello: the first lessons, hello -> ohlol by three small models, in seconds.

It shows whether training works on the configured device at all. Reads params.yaml only; writes
metrics/hello.json and metrics/hello/loss.csv.
"""

import math
import sys
from pathlib import Path

import pandas as pd
import torch

from stages.core.errors import UserError, exit_code
from stages.core.files import write_csv, write_metrics
from stages.core.params import Params
from stages.core.runtime import make_reproducible, select_device
from stages.model.lessons import Embedded, Stepped, WholeSequence, learn

METRICS = Path("metrics/hello.json")
LOSS = Path("metrics/hello/loss.csv")


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml"))
    device = select_device(params.train.device)
    make_reproducible(params.hello.seed, threads=1)  # too small to share among threads

    alphabet = sorted(set(params.hello.input + params.hello.target))
    codes, targets = (
        torch.tensor([[alphabet.index(character) for character in word]], device=device)
        for word in (params.hello.input, params.hello.target)
    )  # (1, length)
    widths = (params.hello.embedding, params.hello.hidden, params.hello.layers)
    metrics, curves = {}, {}
    for name, lesson, arguments, reduction in (
        ("stepped", Stepped, (), "sum"),
        ("sequence", WholeSequence, (), "mean"),
        ("embedded", Embedded, widths, "mean"),
    ):
        print(f"hello: {name}, {params.hello.cell}, on {device}")
        torch.manual_seed(params.hello.seed)  # the weights depend on no earlier lesson
        model = lesson(params.hello.cell, len(alphabet), *arguments).to(device)
        rate, curve = getattr(params.hello, f"{name}_rate"), []
        for loss, guess in learn(model, codes, targets, rate, params.hello.epochs, reduction):
            curve.append(loss)
            predicted = "".join(alphabet[code] for code in guess[0].tolist())
            print(f"  epoch {len(curve)}/{params.hello.epochs}: loss {loss:.4f}, {predicted}")
            if not math.isfinite(loss):
                raise UserError(
                    f"hello: the loss of {name} is {loss} on {device}; lower hello.{name}_rate, "
                    "and if that is no help, train.device does not compute properly: try cpu"
                )
        right = predicted == params.hello.target
        metrics[name] = {"loss": curve[-1], "predicted": predicted, "right": right}
        curves[name] = curve

    write_metrics(METRICS, metrics)
    epochs = pd.RangeIndex(1, params.hello.epochs + 1, name="epoch")
    write_csv(LOSS, pd.DataFrame(curves, index=epochs).reset_index())
    for name, result in metrics.items():
        verdict = "right" if result["right"] else f"wrong, not yet {params.hello.target}"
        print(f"hello: {name} writes {result['predicted']}: {verdict}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
