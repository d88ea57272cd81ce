"""The model card: what the model is, how good, and what it is not for, from metrics alone."""

from collections.abc import Mapping
from typing import Any

from stages.core.params import Params

Metrics = Mapping[str, Any]


def model_card(
    params: Params, ingest: Metrics, evaluate: Metrics, baseline: Metrics, export: Metrics
) -> str:
    """Markdown of the card; the same metrics give the same text.

    Args:
        params: what the model was made with.
        ingest: metrics/ingest.json.
        evaluate: metrics/evaluate.json.
        baseline: metrics/baseline.json.
        export: metrics/export.json.
    """
    train, test = ingest["train"], ingest["test"]
    countries = sorted(evaluate["per_country"].items(), key=lambda item: -item[1]["support"])
    weakest = sorted(countries, key=lambda item: item[1]["f1"])[:3]
    shape = {
        key: value
        for block in (params.model, params.train)
        for key, value in block.model_dump().items()
        if key not in {"device", "threads", "checkpoint_minutes"}
    }
    scores = [
        ("accuracy", "accuracy", "share of test names with the right country first"),
        ("macro-F1", "macro_f1", "mean F1 of the countries, small ones counting as much"),
        ("top-3 accuracy", "top3_accuracy", "right country among the first three"),
        ("accuracy, unseen names", "unseen_accuracy", "test names that are not in training"),
        ("NLL", "nll", "nats per name"),
        ("ECE", "ece", "distance of probability and accuracy"),
    ]
    return "\n".join(
        [
            "# Model card: onoma",
            "",
            "Written by `onoma card` from metrics/ and params.yaml; do not edit it by hand.",
            "",
            "## What it is",
            "",
            f"A classifier of surnames into {export['countries']} countries: a recurrent network "
            "over characters and character n-grams, "
            f"{export['weights']:,} weights. It reads any script; it knows the {export['codes']:,} "
            "characters (and fallbacks per script) of its training names.",
            "",
            "- `data/model`: the weights, for torch.",
            f"- `data/onnx`: the same for ONNX Runtime (opset {export['opset']}, "
            f"{export['bytes']:,} bytes). On {export['names']:,} test names "
            f"{export['same_top1']:.2%} have torch's country, and no probability is "
            f"{_bound(export['probability_difference_below'])} or more away.",
            "",
            "## Data",
            "",
            f"`{params.ingest.train}` and `{params.ingest.test}`; where they come from stands "
            "beside them (data/raw/README.md for the default corpus).",
            "",
            "| | rows | rejected | repeated (name, country) |",
            "|---|---:|---:|---:|",
            *(
                f"| {title} | {part['kept']:,} | {part['rejected']:,} | {part['duplicates']:,} |"
                for title, part in (("training", train), ("test", test))
            ),
            "",
            f"{ingest['overlap']['names']:,} test rows bear a name that is also in training. "
            "The test rows choose nothing: the last epoch is the model.",
            "",
            "## Scores on the test names",
            "",
            "| | onoma | linear SVM | |",
            "|---|---:|---:|---|",
            *(
                f"| {title} | {evaluate[key]:.4f} | {_number(baseline.get(key))} | {meaning} |"
                for title, key, meaning in scores
            ),
            "",
            "| country | test names | precision | recall | F1 |",
            "|---|---:|---:|---:|---:|",
            *(
                f"| {country} | {score['support']:,} | {score['precision']:.3f} "
                f"| {score['recall']:.3f} | {score['f1']:.3f} |"
                for country, score in countries
            ),
            "",
            "## Calibration",
            "",
            f"Logits are divided by a temperature of {export['temperature']:.3f}. "
            f"ECE is {evaluate['ece']:.4f} with it and {evaluate['uncalibrated']['ece']:.4f} "
            f"without, over {params.evaluate.ece_bins} bins. "
            "`--abstain 0.6` answers `unsure` where the best probability is lower.",
            "",
            "## Limits",
            "",
            f"- It always answers with one of its {export['countries']} countries, "
            "also for a name of some other country, or for no name at all.",
            "- Its probabilities hold for names mixed as in the test part. "
            "Elsewhere the shares of the countries differ, and so do the probabilities.",
            "- It is weakest on "
            + ", ".join(f"{country} (F1 {score['f1']:.2f})" for country, score in weakest)
            + ".",
            "- The labels are noisy: many surnames are at home in several countries.",
            f"- Names longer than {export['max_length']} characters are refused.",
            "",
            "## Fair use",
            "",
            "A surname is not a nationality, an ethnicity, a language or a place of birth. "
            "People marry, move and are adopted; names are translated and spelled anew.",
            "",
            "- Fit for: statistics over many names, sorting out spellings, teaching.",
            "- Not fit for: any decision about a person, such as hiring, credit, policing, "
            "border control or who gets to see what.",
            "- Say the error rates above beside any figure that rests on it, and look at the "
            "countries one by one: the errors are not spread evenly.",
            "",
            "## How it was made",
            "",
            "| parameter | value |",
            "|---|---|",
            *(f"| {key} | {value} |" for key, value in shape.items()),
            "",
        ]
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _bound(value: float) -> str:
    return f"{value:f}".rstrip("0")
