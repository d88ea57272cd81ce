"""The page and the API around the model of `onnx_folder`."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from stages.serving import web
from stages.serving.onnx_bundle import load
from stages.serving.predictor import Predictor


@pytest.fixture(scope="session")
def served(onnx_folder: Path) -> Predictor:
    return load(onnx_folder)


@pytest.fixture(scope="session")
def app(served: Predictor):
    return web.create_app(served)


@pytest.fixture
def client(app) -> TestClient:
    return TestClient(app, "http://localhost", raise_server_exceptions=False)
