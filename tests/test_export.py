"""Stage export: the ONNX model answers as torch does, or the stage fails."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import ModelProto
from ruamel.yaml import YAML

from stages import export
from stages.core.errors import UserError
from stages.core.params import ModelParams
from stages.corpus.vocabulary import Vocabulary
from stages.serving.bundle import load
from stages.serving.graph import Weights
from stages.serving.predictor import Predictor
from stages.serving.torch_bundle import save
from tests.conftest import ROOT
from tests.serving.made import classifier, config, held_out

VOCABULARY = Vocabulary("fold", ("CYRILLIC", "LATIN"), tuple("abcdeио"))
NAMES = ["Abe", "ed", "Ио", "x", "bad cab", "ABE", "Müller", "c" * 30]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a model (random weights) and a clean test part."""
    monkeypatch.chdir(tmp_path)
    values = config(vocabulary=VOCABULARY, max_length=40, held_out=held_out())
    save(Path("data/model"), values, classifier(values))
    Path("data/clean").mkdir()
    pq.write_table(pa.table({"name": NAMES, "country": ["A"] * 8}), "data/clean/test.parquet")


def test_exported_model_answers_as_torch_and_metrics_say_so() -> None:
    export.main()
    metrics = json.loads(Path("metrics/export.json").read_text("utf-8"))
    assert (metrics["names"], metrics["accuracy_loss"]) == (len(NAMES), 0.0)
    for same in ("same_top1", "same_reason_and_set", "same_probabilities"):
        assert metrics[same] == 1.0
    assert metrics["bytes"] == Path("data/onnx/model.onnx").stat().st_size
    np.testing.assert_allclose(
        load("data/onnx").predict_proba(NAMES),
        load("data/model").predict_proba(NAMES),
        atol=metrics["probability_difference_below"],
    )


def test_stage_fails_if_the_exported_model_answers_differently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = export.build

    def wrong(params: ModelParams, weights: Weights, blank: int) -> ModelProto:
        return right(params, weights | {"logits.bias": weights["logits.bias"][::-1] * 9}, blank)

    monkeypatch.setattr(export, "build", wrong)
    with pytest.raises(UserError, match="answers differ"):
        export.main()


def test_the_loss_of_accuracy_and_each_difference_are_counted() -> None:
    def answering(*logits: float) -> Predictor:
        row = np.array(logits, dtype=np.float32)
        values = config(vocabulary=VOCABULARY, countries=("A", "B"), temperatures=[1.0])
        return Predictor(lambda codes: np.tile(row, (len(codes), 1)), values)

    rows = [(["a", "b"], ["A", "B"]), (["c"], ["A"])]
    near = export.compare(answering(0.0, -0.05), answering(0.0, -0.1), rows)  # .512, .525
    assert near == {"right": 2, "right_exported": 2} | dict.fromkeys(("names", *export.SAME), 3)
    other = export.compare(answering(0.0, -1.0), answering(-1.0, 0.0), rows)
    assert other == near | {"right_exported": 1, "same_top1": 0, "same_probabilities": 0}


def test_artifacts_in_dvc_yaml_are_what_stages_write() -> None:
    config = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text("utf-8"))
    outs = {str(out) for stage in config["stages"].values() for out in stage.get("outs", [])}
    models = config["artifacts"].values()
    assert {model["path"] for model in models} == {"data/model", "data/onnx"} <= outs
    assert all(model["type"] == "model" and model["desc"] and model["labels"] for model in models)
