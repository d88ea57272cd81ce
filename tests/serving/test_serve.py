"""The HTTP API: answers like the Python API, refuses with 4xx, never fails with 500."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from stages.commands import cli
from stages.serving import web
from stages.serving.onnx_bundle import load


@pytest.fixture(scope="module")
def app(onnx_folder: Path):
    return web.create_app(load(onnx_folder))


@pytest.fixture
def client(app) -> TestClient:
    return TestClient(app, "http://localhost", raise_server_exceptions=False)


def test_answers_are_the_apis(client: TestClient, onnx_folder: Path) -> None:
    names = ["Müller", "佐藤", "O'Brien"]
    response = client.post("/predict", json={"names": names, "top": 2})
    assert response.status_code == 200
    assert response.json()["model"] == load(onnx_folder).model_hash
    assert response.json()["population"] == "made-up names"
    for found, wanted in zip(
        response.json()["predictions"], load(onnx_folder).predict(names, top=2), strict=True
    ):
        assert (found["name"], found["country"]) == wanted[:2]
        assert found["probability"] == pytest.approx(wanted.probability, abs=1e-6)
        assert (found["reason"], found["set"]) == (wanted.reason, wanted.set)
        assert [share["country"] for share in found["top"]] == [
            country for country, _ in wanted.top
        ]


def test_abstains_below_the_threshold(client: TestClient) -> None:
    response = client.post("/predict", json={"names": ["Abe"], "abstain": 1})
    assert response.json()["predictions"][0]["country"] == "unsure"


def test_explanation_has_an_effect_for_each_character(
    client: TestClient, onnx_folder: Path
) -> None:
    response = client.post("/explain", json={"name": " Müller "})
    assert response.status_code == 200
    found = response.json()
    wanted = load(onnx_folder).occlusion("Müller")
    assert (found["method"], found["name"]) == ("occlusion", "Müller")
    assert found["country"] == wanted.country
    assert [entry["character"] for entry in found["characters"]] == list("Müller")
    assert [entry["effect"] for entry in found["characters"]] == pytest.approx(wanted.effects)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"names": []}',
        b'{"names": [""]}',
        b'{"names": ["\\ud800"]}',
        b'{"names": ["a\\u0000b"]}',
        b'{"names": [7]}',
        b'{"names": "Abe"}',
        b'{"names": ["Abe"], "\\ud800": 1}',
        b'{"names": ["Abe"], "abstain": NaN}',
        b'{"names": ["Abe"], "abstain": 1e999}',
        b'{"names": ["Abe"], "top": 0}',
        b'{"names": ["Abe"], "top": 99999999999999999999999}',
        json.dumps({"names": ["Abe"] * (web.MAX_NAMES + 1)}).encode(),
        json.dumps({"names": ["x" * 3000]}).encode(),
        json.dumps({"names": ["x" * 41]}).encode(),
    ],
    ids=range(20),
)
@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_bad_bodies_are_refused_with_reasons(client: TestClient, path: str, body: bytes) -> None:
    if path == "/explain":
        body = body.replace(b'"names": [', b'"name": ').replace(b"]", b"")
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.json()["detail"]


def test_unusable_names_are_reported_with_their_positions(client: TestClient) -> None:
    response = client.post("/predict", json={"names": ["Abe", " ", "Bob", "x" * 50]})
    assert response.status_code == 422
    faults = [(fault["loc"], fault["msg"]) for fault in response.json()["detail"]]
    assert faults == [
        (["body", "names", 1], "empty name"),
        (["body", "names", 3], "name longer than 40 characters"),
    ]


@pytest.mark.parametrize(
    "body", [{}, {"names": []}, {"names": [1]}, {"names": ["Abe"] * (web.MAX_NAMES + 1)}]
)
def test_bad_populations_are_refused_with_reasons(
    client: TestClient, body: dict[str, object]
) -> None:
    response = client.post("/shares", json=body)
    assert response.status_code == 422
    assert response.json()["detail"]


def test_shares_are_those_of_the_command(
    client: TestClient, onnx_folder: Path, tmp_path: Path
) -> None:
    names = ["Abe", "Bob", "Cab", "तिवारी", ""] * 30
    found = client.post("/shares", json={"names": names}).json()
    (tmp_path / "in.csv").write_text("name\n" + "".join(f'"{name}"\n' for name in names))
    arguments = [str(tmp_path / "in.csv"), "--model", str(onnx_folder)]
    assert cli.main(["shares", *arguments, "--json", str(tmp_path / "out.json")]) == 0
    wanted = json.loads((tmp_path / "out.json").read_text())
    assert found.keys() == wanted.keys()
    assert (found["names"], found["unsure"]) == (wanted["names"], wanted["unsure"])
    assert {row["country"] for row in found["shares"]} == {
        row["country"] for row in wanted["shares"]
    }


def test_large_bodies_are_refused_whether_announced_or_not(client: TestClient) -> None:
    def pieces():
        for _ in range(100):
            yield b" " * 100_000

    for content in (b" " * (web.MAX_BODY_BYTES + 1), b"x" * 10_000_000, pieces()):
        response = client.post(
            "/predict", content=content, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 413


def test_other_methods_and_paths_are_4xx(client: TestClient) -> None:
    assert client.get("/predict").status_code == 405
    assert client.post("/nothing").status_code == 404
    assert client.get("/docs").status_code == 404  # would load scripts from elsewhere


def test_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "http://" not in response.text and "https://" not in response.text
    assert "src=" not in response.text.replace("default-src", "")


@pytest.mark.parametrize("path", ["/predict", "/explain", "/shares"])
def test_api_keeps_to_its_openapi(app, path: str) -> None:
    local = {"Host": "localhost"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=local)
    operation = schema[path]["POST"]

    # By hypothesis itself: the package's pytest plugin does not know this pytest.
    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def check(case: schemathesis.Case) -> None:
        # A schema cannot say which texts are usable names: their refusal is no failure.
        case.call_and_validate(headers=local, excluded_checks=[positive_data_acceptance])

    check()


@hypothesis.given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.text() | st.sampled_from(["names", "name", "top", "abstain"]), inner, max_size=4
            )
        ),
        max_leaves=10,
    )
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_no_json_brings_the_server_down(app, value: object) -> None:
    with_names = {"names": ["Abe"], **value} if isinstance(value, dict) else value
    client = TestClient(app, "http://localhost", raise_server_exceptions=False)
    for path, body in (("/predict", with_names), ("/explain", value)):
        response = client.post(
            path, content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert response.status_code in (200, 400, 422)
        response.json()


def test_port_in_use_is_one_line(onnx_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--model", str(onnx_folder), "--port", port]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and port in err and "--port" in err


def test_missing_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--model", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_health_names_the_model(client: TestClient, onnx_folder: Path) -> None:
    response = client.get("/healthz")
    assert response.json() == {"status": "ok", "model": load(onnx_folder).model_hash}


def test_few_names_do_not_wait_for_many_and_too_many_are_refused(
    onnx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, started, finish = load(onnx_folder), threading.Event(), threading.Event()
    answers = model.answers

    def slow_answers(names: list[str], *options: Any) -> Any:
        if len(names) > web.MANY:
            started.set()
            assert finish.wait(30)
        return answers(names, *options)

    monkeypatch.setattr(model, "answers", slow_answers)
    monkeypatch.setattr(web, "MAX_QUEUE", 1)
    many = {"names": ["Abe"] * (web.MANY + 1)}
    with (
        TestClient(web.create_app(model), "http://localhost") as client,
        ThreadPoolExecutor() as pool,
    ):
        first = pool.submit(client.post, "/predict", json=many)
        assert started.wait(30)
        assert client.post("/predict", json={"names": ["Abe"]}).status_code == 200
        refused = client.post("/predict", json=many)
        finish.set()
        assert refused.status_code == 503 and "busy" in refused.json()["detail"]
        assert first.result().status_code == 200
