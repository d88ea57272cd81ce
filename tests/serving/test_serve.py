"""The HTTP API: answers like the Python API, refuses with 4xx, never fails with 500."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from fastapi.testclient import TestClient

from stages.commands import cli
from stages.serving import web
from stages.serving.onnx_bundle import load
from stages.serving.prediction import Prediction
from stages.serving.predictor import Predictor

JSON, CSV = {"Content-Type": "application/json"}, {"Content-Type": "text/csv"}
MOST = web.MAX_NAMES


@pytest.mark.parametrize(("options", "name"), [({}, "Jo Müller"), ({"full_names": True}, "Müller")])
def test_a_name_is_explained_as_it_is_answered_by_an_effect_for_each_character(
    client: TestClient, served: Predictor, options: dict[str, bool], name: str
) -> None:
    explanation = client.post("/explain", json={"name": "Jo Müller", **options}).json()
    (answer,) = served.predict(["Jo Müller"], **options)
    effects = zip(name, served.occlusion(name).effects.tolist(), strict=True)
    assert explanation == {
        "method": "occlusion",
        "name": answer.read_as or "Jo Müller",
        "country": answer.top[0][0],
        "characters": [{"character": letter, "effect": effect} for letter, effect in effects],
    }
    assert client.post("/explain", json={"name": " "}).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"[" * 100_000, b"\xff\xfe", b'{"names": []}', b'{"names": ["\\ud800"]}'),
        *(b'{"names": ["Abe"], "\\ud800": 1}', b'{"names": ["Abe"], "abstain": NaN}'),
        *(b'{"names": ["%b"]}' % (b"x" * 3000), b'{"names": ["a"%b]}' % (b', "a"' * MOST)),
    ],
    ids=range(9),
)
def test_bad_bodies_are_refused_with_reasons(client: TestClient, body: bytes) -> None:
    response = client.post("/predict", content=body, headers=JSON)
    assert response.status_code in (400, 422)
    assert response.json()["detail"] and '"input"' not in response.text


def test_shares_are_those_of_the_python_api(client: TestClient, served: Predictor) -> None:
    names = ["Abe", "Bob", "Cab", "तिवारी", ""] * 30
    assert client.post("/shares", json={"names": names}).json() == served.shares(names)


def post_file(client: TestClient, content: bytes, query: str = "") -> list[dict[str, Any]]:
    """The lines of a response: how the table was read, all predictions, the shares."""
    response = client.post(f"/file?{query}", content=content, headers=CSV)
    assert response.status_code == 200, response.text
    first, *parts, last = map(json.loads, response.text.splitlines())
    return [first, *(answer for part in parts for answer in part["predictions"]), last]


@pytest.mark.parametrize(
    ("content", "query", "read", "names"),
    [
        ("id,first name,Last Name\n1,Ann,Abe\n2,Jo,Bob\n", "", "Last Name", ["Abe", "Bob"]),
        ("id;Nachname\n1;Müller\n", "", "Nachname cp1252 ;", ["Müller"]),
        ("id\tname\n1\tAbe\n", "", "name \t", ["Abe"]),
        ('name\n"Mül\nler"\nBob\n', "", "name", ["Mül\nler", "Bob"]),
        ("Abe\r\nBob\r\n", "", "Abe", ["Abe", "Bob"]),  # no header
        ("1,Abe\n2,Bob\n", "column=Abe&header=false", "Abe", ["Abe", "Bob"]),
        ("a,b\n1,Abe\n", "column=b", "b", ["Abe"]),
        ("a,name\nx\n1,Abe\n", "", "name", ["x", "Abe"]),  # a row that cannot be read
    ],
)
def test_a_file_is_read_as_people_export_it(
    client: TestClient, content: str, query: str, read: str, names: list[str]
) -> None:
    encoding = "cp1252" if "cp1252" in read else "utf-8"
    first, *predictions, last = post_file(client, content.encode(encoding), query)
    assert first["encoding"] == encoding and read.startswith(first["column"])
    assert first["separator"] == (read[-1] if read[-1] in ";\t" else ",")
    assert first["header"] == (names[0] not in content.splitlines()[0])
    assert [answer["name"] for answer in predictions] == names
    whys = [answer["reason"] for answer in predictions if answer["country"] is None]
    broken = {"x": "1 fields instead of 2", "Mül\nler": "control character in name"}
    assert whys == [broken[name] for name in names if name in broken]
    assert last["shares"]["names"] == len(set(names) - {"x"}) and not last["more"]


def test_the_rows_of_a_file_are_bounded_in_number(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_NAMES", 1500)
    _, *predictions, last = post_file(client, b"name\n" + b"Abe\n" * 1501)
    assert len(predictions) == 1500 and last["more"]
    assert not post_file(client, b"name\n" + b"Abe\n" * 1500)[-1]["more"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        *((b"", "empty"), (b"PK\3\4", "Excel"), (b"\x1f\x8bx", "gzip")),
        *(("name\nAbe\n".encode("utf-16"), "UTF-16"), (b"a,b\n1,Abe\n", "which column")),
    ],
)
def test_a_file_that_is_no_table_of_names_is_refused(
    client: TestClient, content: bytes, why: str
) -> None:
    response = client.post("/file", content=content, headers=CSV)
    (fault,) = response.json()["detail"]
    assert response.status_code == 422 and why in fault["msg"]
    assert "memory:" not in fault["msg"] and "--" not in fault["msg"]
    assert fault.get("columns") == (["a", "b"] if "column" in why else None)


def test_types_are_required_and_the_health_says_which_model_answers(
    client: TestClient, served: Predictor
) -> None:
    assert client.get("/docs").status_code == 404  # would load scripts from elsewhere
    for path in ("/predict", "/file"):
        response = client.post(path, content=b'{"names": ["Abe"]}')
        assert response.status_code == 415 and "Content-Type" in response.json()["detail"]
    for path in ("/", "/healthz"):
        assert client.head(path).status_code == 200 and not client.head(path).content
    assert client.get("/healthz").json() == {"status": "ok", "model": served.model_hash}


def test_page_loads_nothing_from_elsewhere_and_says_what_it_knows(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    for absent in ("http://", "https://", " src=", "{{"):
        assert absent not in response.text
    for present in ("of the 4 countries", f"{MOST:,} at most", "Surname, in any script"):
        assert present in response.text
    script = response.text.partition("<script>")[2]
    assert all(field in script for field in Prediction._fields)


@pytest.mark.parametrize("path", ["/predict", "/explain", "/shares", "/file"])
def test_api_keeps_to_its_openapi(app, path: str) -> None:
    import schemathesis  # slow, and used here alone

    local = {"Host": "localhost"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=local)
    operation = schema[path]["POST"]
    # A schema cannot say which texts are names or tables: their refusal is no failure.
    excluded = [schemathesis.specs.openapi.checks.positive_data_acceptance]

    # By hypothesis itself: the package's pytest plugin does not know this pytest.
    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=25, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=local, excluded_checks=excluded)

    check()


def test_a_port_in_use_is_one_line(onnx_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--model", str(onnx_folder), "--port", port]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and port in error and "--port" in error


def test_few_names_do_not_wait_for_many_and_too_many_are_refused(
    onnx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, started, finish = load(onnx_folder), threading.Event(), threading.Event()
    predict = model.predict

    def slow_predict(names: list[str], **options: Any) -> Any:
        if len(names) > web.MANY:
            started.set()
            assert finish.wait(30)
        return predict(names, **options)

    monkeypatch.setattr(model, "predict", slow_predict)
    monkeypatch.setattr(web, "MAX_QUEUE", 1)
    app = TestClient(web.create_app(model), "http://localhost")
    with app as client, ThreadPoolExecutor() as pool:

        def ask(number: int) -> int:
            return client.post("/predict", json={"names": ["Abe"] * number}).status_code

        first = pool.submit(ask, web.MANY + 1)
        assert started.wait(30)
        statuses = [ask(1), ask(web.MANY + 1)]
        finish.set()
        assert [*statuses, first.result()] == [200, 503, 200]
