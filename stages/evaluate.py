"""Stage evaluate: the trained model on the test names -> metrics, per country and as plots.

Reads data/model and data/index; writes metrics/evaluate.json, metrics/evaluate/confusion.csv and
metrics/evaluate/countries.csv.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from stages.core.errors import exit_code
from stages.core.files import write_json, write_text
from stages.core.params import Params
from stages.core.runtime import make_reproducible, select_device
from stages.corpus.dataset import Names
from stages.model.bundle import load_model
from stages.training.inference import all_logits
from stages.training.metrics import (
    Labels,
    expected_calibration_error,
    negative_log_likelihood,
    per_country,
    scores,
)

INDEX = Path("data/index")
MODEL = Path("data/model")
METRICS = Path("metrics/evaluate.json")
PLOTS = Path("metrics/evaluate")


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml"))
    device = select_device(params.train.device)
    make_reproducible(params.train.seed, params.train.threads)
    model, config = load_model(MODEL, device)
    names = Names.load(INDEX / "test")

    logits = all_logits(model, names, len(config.countries), params.evaluate.batch_size, device)
    labels = np.asarray(names.labels)
    probabilities = softmax(logits / config.temperature, axis=1)
    guesses = probabilities.argmax(axis=1)

    bins = params.evaluate.ece_bins
    metrics = scores(probabilities, labels, names.seen, bins)
    raw = softmax(logits, axis=1)
    uncalibrated = {
        "nll": negative_log_likelihood(raw, labels),
        "ece": expected_calibration_error(raw, labels, bins),
    }
    countries = per_country(labels, guesses, config.countries)
    write_json(METRICS, {**metrics, "uncalibrated": uncalibrated, "per_country": countries})
    write_text(PLOTS / "confusion.csv", confusion(labels, guesses, config.countries))
    f1 = pd.DataFrame({"country": list(countries), "f1": [c["f1"] for c in countries.values()]})
    write_text(PLOTS / "countries.csv", f1.to_csv(index=False, lineterminator="\n"))
    print("evaluate: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))


def confusion(labels: Labels, guesses: Labels, countries: list[str]) -> str:
    """CSV of every pair that occurs: actual country, predicted country, rows, share of actual."""
    named = pd.DataFrame({"actual": labels, "predicted": guesses}).astype(int)
    pairs = named.value_counts(sort=False).rename("rows").reset_index()
    pairs["share"] = (pairs["rows"] / pairs.groupby("actual")["rows"].transform("sum")).round(4)
    pairs[["actual", "predicted"]] = np.array(countries)[pairs[["actual", "predicted"]]]
    return pairs.to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    sys.exit(exit_code(main, Path(".onoma/evaluate.lock")))
