"""Stage evaluate: the trained model on the test names -> metrics, overall and per country.

Reads data/model, data/index and ``evaluate.people``; writes metrics/evaluate.json, countries.json,
details.json (for the model card) and evaluate/*.csv (for the plots).
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from anyascii import anyascii
from scipy.special import softmax

from stages.core.errors import UserError, brief, exit_code
from stages.core.files import write_csv, write_metrics
from stages.core.params import Params
from stages.core.runtime import make_reproducible, select_device
from stages.corpus.dataset import Names
from stages.corpus.normalize import normalise, script
from stages.model.classifier import Classifier
from stages.model.metrics import Labels, calibration, details, per_country, scores, top_accuracy
from stages.serving.config import Config
from stages.serving.held_out import prediction_sets
from stages.serving.torch_bundle import load_model
from stages.training.inference import all_logits

INDEX, MODEL = Path("data/index"), Path("data/model")
METRICS, PLOTS = Path("metrics"), Path("metrics/evaluate")


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml"))
    make_reproducible(params.train.seed, params.train.threads)
    model, config = load_model(MODEL, select_device(params.train.device))
    names = Names.load(INDEX / "test")
    labels = np.asarray(names.labels)
    logits = all_logits(model, names, params.evaluate.batch_size)

    texts = config.vocabulary.decode(names.codes, names.offsets)
    kinds = config.kinds(texts)
    probabilities = softmax(logits / np.array(config.temperatures)[kinds, None], axis=1)
    predictions = probabilities.argmax(axis=1)
    bins = params.evaluate.ece_bins
    metrics = scores(probabilities, labels, names.seen, bins)
    rows = pd.DataFrame({"country": labels, "confidence": probabilities.max(axis=1)})
    if config.held_out:
        sets = prediction_sets(probabilities, config.held_out.thresholds[kinds])
        rows["coverage"] = sets[np.arange(len(labels)), labels].astype(float)
        metrics |= {"coverage": rows["coverage"].mean(), "set_size": float(sets.sum(1).mean())}
    means = rows.groupby("country").mean().reindex(range(len(config.countries)))
    means = means.fillna({"confidence": 0.0, "coverage": 1.0}).set_axis(config.countries)
    countries = per_country(labels, predictions, list(config.countries)).join(means)
    metrics |= people_scores(Path(params.evaluate.people), model, config)
    write_metrics(METRICS / "evaluate.json", metrics)
    write_metrics(METRICS / "countries.json", countries.to_dict("index"))
    spellings = np.array([anyascii(text).lower() for text in texts])
    scripts = np.array([written_in(text) for text in texts])
    report = details(probabilities, labels, scripts, spellings, bins)
    report["uncalibrated"] = calibration(softmax(logits, axis=1), labels, bins)
    write_metrics(METRICS / "details.json", report)
    write_csv(PLOTS / "confusion.csv", confusion(labels, predictions, config.countries))
    write_csv(PLOTS / "countries.csv", countries["f1"].rename_axis("country").reset_index())
    print("evaluate: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))


def people_scores(path: Path, model: Classifier, config: Config) -> dict[str, float]:
    """``people_accuracy`` and ``people_top3`` on surnames of people of the model's countries."""
    try:
        people = pd.read_csv(path, names=["name", "country"], keep_default_na=False)
        people = people[people["country"].isin(config.countries)]
        spelled = [normalise(name, config.normalize, config.max_length) for name in people["name"]]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {brief(error)}; set evaluate.people") from None
    if not spelled:
        return {}
    codes, offsets = config.vocabulary.encode(spelled)
    labels = people["country"].map(config.countries.index).to_numpy()
    logits = all_logits(model, Names(codes, offsets, labels, np.zeros(len(labels), bool)), 1024)
    top = {"people_accuracy": 1, "people_top3": 3}
    return {metric: top_accuracy(logits, labels, number) for metric, number in top.items()}


def written_in(name: str) -> str:
    """``ascii``, ``accented`` (other Latin letters), or the script of the first letter."""
    first = next((script(c).lower() for c in name if c.isalpha()), "other")
    return first if first != "latin" else "ascii" if name.isascii() else "accented"


def confusion(labels: Labels, predictions: Labels, countries: tuple[str, ...]) -> pd.DataFrame:
    """Every pair that occurs: actual and predicted country, rows, share of actual."""
    table = pd.DataFrame({"actual": labels, "predicted": predictions}).astype(int)
    pairs = table.value_counts(sort=False).rename("rows").reset_index()
    pairs["share"] = (pairs["rows"] / pairs.groupby("actual")["rows"].transform("sum")).round(4)
    pairs[["actual", "predicted"]] = np.array(countries)[pairs[["actual", "predicted"]]]
    return pairs


if __name__ == "__main__":
    sys.exit(exit_code(main))
