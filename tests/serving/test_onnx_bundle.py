"""The exported bundle is checked before it is used, without any help of torch or pydantic."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.core.errors import UserError
from stages.core.params import Params
from stages.corpus.vocabulary import Vocabulary
from stages.model.classifier import Classifier
from stages.serving import bundle, onnx_bundle
from stages.serving.onnx_graph import build

ROOT = Path(__file__).parents[2]
COUNTRIES = ["Austria", "日本", "Кирилия"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with random weights."""
    vocabulary = Vocabulary("keep", ("CJK", "LATIN"), tuple("abcdeü佐藤"))
    params = Params.load(ROOT / "params.yaml").model.model_copy(
        update={"embedding": 4, "hidden": 4, "wide_buckets": 16}
    )
    torch.manual_seed(1)
    model = Classifier(params, len(vocabulary), len(COUNTRIES)).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    onnx_bundle.save(
        tmp_path / "onnx",
        {
            "vocabulary": vocabulary.to_config(),
            "countries": COUNTRIES,
            "normalize": "nfc",
            "max_length": 20,
            "temperature": 1.5,
            "population": "made-up names",
            "held_out": None,
        },
        build(params, weights).SerializeToString(),
    )
    return tmp_path / "onnx"


def change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def test_loaded_model_answers_names_of_any_script(folder: Path) -> None:
    model = onnx_bundle.load(folder)
    table = model.probabilities(["Abe", "佐藤", "Иванов", "e"])
    assert table.shape == (4, 3)
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-5)


def test_temperature_flattens_the_probabilities(folder: Path) -> None:
    sharp = onnx_bundle.load(folder).probabilities(["abc"]).max()
    change(folder, temperature=100.0)
    assert onnx_bundle.load(folder).probabilities(["abc"]).max() < sharp


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"format": 2}, "format"),
        ({"countries": []}, "countries"),
        ({"countries": ["A", "A", "B"]}, "countries"),
        ({"countries": ["A", "B"]}, "disagree"),
        ({"vocabulary": {"case": "keep", "scripts": [], "characters": "a"}}, "disagree"),
        ({"vocabulary": {"case": "keep", "scripts": [], "characters": "aa"}}, "vocabulary"),
        ({"vocabulary": 3}, "vocabulary"),
        ({"normalize": "nfd"}, "normalize"),
        ({"max_length": True}, "max_length"),
        ({"temperature": 0.0}, "temperature"),
        ({"population": 3}, "population"),
        ({"held_out": {"prior": 3}}, "held_out"),
        ({"held_out": {"prior": "AAAA"}}, "held_out"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_impossible_config_is_refused_in_one_line(
    folder: Path, values: dict[str, object], says: str
) -> None:
    change(folder, **values)
    with pytest.raises(UserError, match=says) as caught:
        onnx_bundle.load(folder)
    assert "\n" not in str(caught.value)


def test_damaged_or_missing_files_are_reported_in_one_line(folder: Path) -> None:
    model, config = folder / "model.onnx", folder / "config.json"
    whole = model.read_bytes()
    for content in (b"", b"no model", whole[:100], whole[: len(whole) // 2]):
        model.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.onnx") as caught:
            onnx_bundle.load(folder)
        assert "\n" not in str(caught.value)
    model.unlink()
    with pytest.raises(UserError, match="no such file"):
        onnx_bundle.load(folder)
    config.write_bytes(b"\xff{")
    with pytest.raises(UserError, match=r"config\.json"):
        onnx_bundle.load(folder)
    config.unlink()
    with pytest.raises(UserError, match="dvc repro export"):
        onnx_bundle.load(folder)


def test_either_kind_of_bundle_is_loaded_by_one_function(folder: Path, tmp_path: Path) -> None:
    found = bundle.load(folder).predict(["Abe"])
    assert found == onnx_bundle.load(folder).predict(["Abe"])
    with pytest.raises(UserError, match="dvc repro export"):
        bundle.load(tmp_path)


def test_an_exported_model_is_loaded_without_any_slow_package(folder: Path) -> None:
    code = (
        "import sys; from stages.serving.bundle import load; "
        f"print(load({str(folder)!r}).predict(['Abe'])[0].name, "
        "*sorted({'torch', 'pydantic', 'pandas', 'sklearn', 'dvc', 'pyarrow', 'onnx', 'rich'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("Abe", "")
