"""Command line, Python and HTTP give the same fields with the same values; test_bulk has files."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from stages.commands import cli
from stages.serving import web
from stages.serving.bundle import load
from stages.serving.countries import about_countries

NAMES = ["Abe", "Müller", "Xqzzvk", "तिवारी", "Merkel, Angela", "佐藤", "ABE", " ", "a\0b"]
REASONS = {"script", "not a surname", "ambiguous", "empty name", "control character in name"}
FIELDS = ["name", "country", "probability", "reason", "set", "group", "group_probability"]
FIELDS += ["kind", "read_as", "top"]


def test_command_line_python_and_http_agree(
    onnx_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(onnx_folder)
    client = TestClient(web.create_app(model), "http://localhost")
    about = {"model": model.model_hash, "population": "made-up names"}
    python = [answer._asdict() for answer in model.predict(NAMES, top=2, abstain=0.9)]
    assert {answer["reason"] for answer in python} >= REASONS
    for answer in python:
        assert list(answer) == FIELDS
        assert (answer["country"] in ("unsure", None)) == (answer["reason"] is not None)
        assert answer["set"][:1] == [country for country, _ in answer["top"][:1]]
        answer["top"] = [{"country": label, "probability": share} for label, share in answer["top"]]
    options = ["--model", str(onnx_folder), "--json"]
    cli.main(["predict", *options, "--top", "2", "--abstain", "0.9", *NAMES])
    assert [*map(json.loads, capsys.readouterr().out.splitlines())] == [about, *python]
    request = {"names": NAMES, "top": 2, "abstain": 0.9}
    response = client.post("/predict", json=request)
    assert response.json() == {**about, "predictions": python}

    countries = [each._asdict() for each in about_countries(model)]
    cli.main(["countries", *options])
    written = json.loads(capsys.readouterr().out)
    assert written == client.get("/countries").json() == {**about, "countries": countries}
