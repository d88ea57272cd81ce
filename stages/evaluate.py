"""Stage evaluate: the trained model on the test names -> metrics, overall and per country.

Reads data/model and data/index; writes metrics/evaluate.json, metrics/countries.json and the plots'
metrics/evaluate/confusion.csv and metrics/evaluate/countries.csv.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from stages.core.errors import exit_code
from stages.core.files import write_csv, write_metrics
from stages.core.params import Params
from stages.core.runtime import make_reproducible, select_device
from stages.corpus.dataset import Names
from stages.model.bundle import load_model
from stages.model.metrics import (
    Labels,
    expected_calibration_error,
    negative_log_likelihood,
    per_country,
    scores,
)
from stages.training.inference import all_logits

INDEX, MODEL = Path("data/index"), Path("data/model")
METRICS, COUNTRIES = Path("metrics/evaluate.json"), Path("metrics/countries.json")
PLOTS = Path("metrics/evaluate")


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml"))
    make_reproducible(params.train.seed, params.train.threads)
    model, config = load_model(MODEL, select_device(params.train.device))
    names = Names.load(INDEX / "test")
    labels = np.asarray(names.labels)
    logits = all_logits(model, names, params.evaluate.batch_size)

    probabilities, raw = softmax(logits / config.temperature, axis=1), softmax(logits, axis=1)
    predictions, bins = probabilities.argmax(axis=1), params.evaluate.ece_bins
    metrics = scores(probabilities, labels, names.seen, bins)
    uncalibrated = {
        "nll": negative_log_likelihood(raw, labels),
        "ece": expected_calibration_error(raw, labels, bins),
    }
    countries = per_country(labels, predictions, config.countries)
    write_metrics(METRICS, {**metrics, "uncalibrated": uncalibrated})
    write_metrics(COUNTRIES, countries)
    write_csv(PLOTS / "confusion.csv", confusion(labels, predictions, config.countries))
    f1 = pd.DataFrame({"country": list(countries), "f1": [c["f1"] for c in countries.values()]})
    write_csv(PLOTS / "countries.csv", f1)
    print("evaluate: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))


def confusion(labels: Labels, predictions: Labels, countries: list[str]) -> pd.DataFrame:
    """Every pair that occurs: actual and predicted country, rows, share of actual."""
    table = pd.DataFrame({"actual": labels, "predicted": predictions}).astype(int)
    pairs = table.value_counts(sort=False).rename("rows").reset_index()
    pairs["share"] = (pairs["rows"] / pairs.groupby("actual")["rows"].transform("sum")).round(4)
    pairs[["actual", "predicted"]] = np.array(countries)[pairs[["actual", "predicted"]]]
    return pairs


if __name__ == "__main__":
    sys.exit(exit_code(main, Path(".onoma/evaluate.lock")))
