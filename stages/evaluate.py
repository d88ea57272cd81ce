"""Stage evaluate: the trained model on the test names and on people -> metrics.

Reads data/model, data/index and data/raw/people; writes metrics/evaluate.json, countries.json,
details.json (for the model card) and evaluate/*.csv (for the plots).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from stages.core.errors import exit_code
from stages.core.files import write_csv, write_metrics
from stages.core.params import EvaluateParams, Params
from stages.core.runtime import make_reproducible, select_device
from stages.corpus.dataset import Names
from stages.corpus.people import people_files, questions, surnames_in
from stages.model.classifier import Classifier
from stages.model.metrics import (
    Sets,
    calibration,
    confusion,
    coverage,
    details,
    means_by_country,
    per_country,
    scores,
    scores_of_people,
)
from stages.serving.config import Config
from stages.serving.held_out import Floats, prediction_sets
from stages.serving.torch_bundle import load_model
from stages.training.inference import all_logits

INDEX, MODEL, PEOPLE = Path("data/index"), Path("data/model"), Path("data/raw/people")
METRICS, PLOTS = Path("metrics"), Path("metrics/evaluate")


def main() -> None:
    """Run the stage."""
    params = Params.load(Path("params.yaml"))
    make_reproducible(params.train.seed, params.train.threads)
    model, config = load_model(MODEL, select_device(params.train.device))
    names, bins = Names.load(INDEX / "test"), params.evaluate.ece_bins
    texts, labels = config.vocabulary.decode(names.codes, names.offsets), np.asarray(names.labels)
    logits, probabilities, sets = ask(model, config, names, texts, params.evaluate.batch_size)

    predictions = probabilities.argmax(axis=1)
    metrics = scores(probabilities, labels, names.seen, bins) | coverage(sets, labels)
    confidence = {"confidence": probabilities.max(axis=1)}
    means = means_by_country(confidence, sets, labels, config.countries)
    countries = per_country(labels, predictions, list(config.countries)).join(means)
    countries = countries.fillna({"confidence": 0.0, "coverage": 1.0})
    people_metrics, people_means = score_people(model, config, params.evaluate)
    metrics |= people_metrics
    write_metrics(METRICS / "evaluate.json", metrics)
    rows = countries.join(people_means).to_dict("index").items()
    # A country without people has no figures of them.
    by_country = {name: {k: v for k, v in row.items() if v == v} for name, row in rows}
    write_metrics(METRICS / "countries.json", by_country)
    report = details(probabilities, labels, texts, bins)
    report["uncalibrated"] = calibration(softmax(logits, axis=1), labels, bins)
    write_metrics(METRICS / "details.json", report)
    write_csv(PLOTS / "confusion.csv", confusion(labels, predictions, config.countries))
    write_csv(PLOTS / "countries.csv", countries["f1"].rename_axis("country").reset_index())
    print("evaluate: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))


def ask(
    model: Classifier, config: Config, names: Names, texts: Sequence[str], batch_size: int
) -> tuple[Floats, Floats, Sets | None]:
    """Logits, probabilities and, if rows were held out, sets; the texts tell the kinds of names."""
    logits, kinds = all_logits(model, names, batch_size), config.kinds(texts)
    probabilities = softmax(logits / np.array(config.temperatures)[kinds, None], axis=1)
    sets = None
    if config.held_out:
        sets = prediction_sets(probabilities, config.held_out.thresholds[kinds])
    return logits, probabilities, sets


def score_people(
    model: Classifier, config: Config, params: EvaluateParams
) -> tuple[dict[str, float], pd.DataFrame]:
    """Scores of each file of people, and recall and coverage of each country by surname."""
    metrics: dict[str, float] = {}
    means = pd.DataFrame(index=config.countries)
    group_of = {label: group for group, labels in config.groups.items() for label in labels}
    groups = np.array([group_of.get(country, country) for country in config.countries])
    files, form = people_files(params.people), (config.names, config.normalize, config.max_length)
    for question in questions(PEOPLE, files, config.countries, *form):
        texts, labels = question.texts, question.labels
        codes, offsets = config.vocabulary.encode(texts)
        names = Names(codes, offsets, labels, np.zeros(len(labels), dtype=bool))
        _, probabilities, sets = ask(model, config, names, texts, params.batch_size)
        own = scores_of_people(probabilities, labels, params.ece_bins) | coverage(sets, labels)
        predictions = probabilities.argmax(axis=1)
        right = predictions == labels
        if question.by_surname:
            unseen = ~surnames_in(Names.load(INDEX / "train"), texts, config.vocabulary)
            if unseen.any():
                own["unseen_accuracy"] = float(right[unseen].mean())
            if group_of:
                own["group_accuracy"] = float((groups[predictions] == groups[labels]).mean())
            by_country = means_by_country({"recall": right}, sets, labels, config.countries)
            means = means.join(by_country.add_prefix(f"{question.prefix}_"))
        metrics |= {f"{question.prefix}_{name}": value for name, value in own.items()}
    return metrics, means


if __name__ == "__main__":
    sys.exit(exit_code(main))
