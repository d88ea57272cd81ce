"""Every front end gives the same fields with the same values."""

import json
from pathlib import Path

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from stages.commands import cli
from stages.serving import web
from stages.serving.bundle import load

NAMES = ["Abe", "Müller", "Xqzzvk", "तिवारी", "Merkel, Angela", "佐藤", "ABE"]
FIELDS = ("name", "country", "probability", "reason", "set", "group", "group_probability")
FIELDS += ("kind", "read_as", "top")


def test_command_line_files_python_and_http_agree(
    onnx_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(onnx_folder)
    python = [answer._asdict() for answer in model.predict(NAMES, top=2, abstain=0.9)]
    assert all(tuple(answer) == FIELDS for answer in python)
    assert {answer["reason"] for answer in python} >= {"script", "not a surname", "ambiguous"}
    for answer in python:
        assert (answer["country"] == "unsure") == (answer["reason"] is not None)
        assert answer["set"][0] == answer["top"][0][0]
        answer["probability"] = round(answer["probability"], 4)
        answer["top"] = [(country, round(share, 4)) for country, share in answer["top"]]

    options = ["--top", "2", "--abstain", "0.9"]
    program = ["predict", "--model", str(onnx_folder), *options]
    cli.main([*program, "--json", *NAMES])
    about, *lines = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert about == {"model": model.model_hash, "population": "made-up names"}

    request = {"names": NAMES, "top": 2, "abstain": 0.9}
    client = TestClient(web.create_app(model), "http://localhost")
    response = client.post("/predict", json=request).json()
    assert {key: response[key] for key in about} == about
    http = response["predictions"]
    for found in (lines, http):
        for answer in found:
            assert set(answer) == set(FIELDS)
            answer["probability"] = round(answer["probability"], 4)
            answer["top"] = [(t["country"], round(t["probability"], 4)) for t in answer["top"]]
        assert found == python

    source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
    pd.DataFrame({"name": NAMES}).to_csv(source, index=False)
    cli.main([*program, "--input", str(source), "--output", str(target)])
    for answer, row in zip(python, pd.read_parquet(target).to_dict("records"), strict=True):
        for field in ("name", "country"):
            assert row[field] == answer[field]
        assert row["probability"] == pytest.approx(answer["probability"], abs=1e-6)
        assert (row["reason"] if isinstance(row["reason"], str) else None) == answer["reason"]
        assert row["set"].split("|") == answer["set"]
        for rank, (country, share) in enumerate(answer["top"], start=1):
            assert row[f"country_{rank}"] == country
            assert row[f"probability_{rank}"] == pytest.approx(share, abs=1e-6)
