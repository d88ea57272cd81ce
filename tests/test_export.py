"""Stage export: the ONNX model answers as torch does, or the stage fails."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from ruamel.yaml import YAML

from stages import export
from stages.core.errors import UserError
from stages.corpus.vocabulary import Vocabulary
from stages.serving.bundle import load
from stages.serving.predictor import Predictor
from stages.serving.torch_bundle import save
from tests.conftest import ROOT
from tests.serving.made import classifier, config, held_out

VOCABULARY = Vocabulary("fold", ("CYRILLIC", "LATIN"), tuple("abcdeио"))
NAMES = ["Abe", "ed", "Ио", "x", "bad cab", "ABE", "Müller", "c" * 30]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model (random weights) and a clean test part."""
    monkeypatch.chdir(tmp_path)
    values = config(vocabulary=VOCABULARY, max_length=40, held_out=held_out())
    save(Path("data/model"), values, classifier(values))
    Path("data/clean").mkdir()
    pq.write_table(pa.table({"name": NAMES, "country": ["A"] * 8}), "data/clean/test.parquet")
    return tmp_path


def test_exported_model_answers_as_torch_and_metrics_say_so(project: Path) -> None:
    export.main()
    metrics = json.loads(Path("metrics/export.json").read_text("utf-8"))
    assert (metrics["names"], metrics["same_top1"]) == (len(NAMES), 1.0)
    assert metrics["same_reason_and_set"] == metrics["same_probabilities"] == 1.0
    assert metrics["accuracy_loss"] == 0.0
    assert metrics["bytes"] == Path("data/onnx/model.onnx").stat().st_size
    np.testing.assert_allclose(
        load("data/onnx").predict_proba(NAMES),
        load("data/model").predict_proba(NAMES),
        atol=metrics["probability_difference_below"],
    )


def test_same_model_gives_the_same_bytes(project: Path) -> None:
    export.main()
    files = [*Path("data/onnx").iterdir(), export.METRICS]
    assert len(files) == 4
    first = [file.read_bytes() for file in files]
    export.main()
    assert [file.read_bytes() for file in files] == first


def test_stage_fails_if_the_exported_model_answers_differently(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = export.build

    def wrong(params: object, weights: dict[str, NDArray[np.float32]], blank: int) -> object:
        bias = weights["logits.bias"]
        return right(params, weights | {"logits.bias": bias[::-1] * 9}, blank)

    monkeypatch.setattr(export, "build", wrong)
    with pytest.raises(UserError, match="answers differ"):
        export.main()


def test_missing_inputs_are_user_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="data/model"):
        export.main()


def test_the_loss_of_accuracy_and_each_difference_are_counted() -> None:
    def answering(*logits: float) -> Predictor:
        row = np.array(logits, dtype=np.float32)
        values = config(vocabulary=VOCABULARY, countries=("A", "B"), temperatures=[1.0])
        return Predictor(lambda codes: np.tile(row, (len(codes), 1)), values)

    rows = [(["a", "b"], ["A", "B"]), (["c"], ["A"])]
    near = export.compare(answering(0.0, -0.05), answering(0.0, -0.1), rows)  # .512, .525
    assert near == export.Comparison(3, 2, 2, 3, 3, 3)
    other = export.compare(answering(0.0, -1.0), answering(-1.0, 0.0), rows)
    assert other == export.Comparison(3, 2, 1, 0, 3, 0)


def test_artifacts_in_dvc_yaml_are_what_stages_write() -> None:
    config = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text("utf-8"))
    outs = {str(out) for stage in config["stages"].values() for out in stage.get("outs", [])}
    models = config["artifacts"].values()
    paths = {model["path"] for model in models}
    assert paths == {"data/model", "data/onnx"}
    assert all(path in outs for path in paths)
    assert all(model["type"] == "model" and model["desc"] and model["labels"] for model in models)
