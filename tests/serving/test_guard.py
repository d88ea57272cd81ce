"""Requests that another site could send by a user's browser are refused; bodies are bounded."""

import pytest
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from stages.commands import cli
from stages.serving import guard, web
from stages.serving.predictor import Predictor

JSON = {"Content-Type": "application/json"}
OWN = ("localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]")
REBOUND = (
    *("evil.example", "evil.example:8000", "localhost.evil.example", "localhost@evil.example"),
    *("evil.example/localhost", "192.0.2.1", "[::2]", "::1", "*", ""),
)


@pytest.mark.parametrize(
    ("allowed", "host", "answered"),
    [
        *((None, host, True) for host in OWN),
        *((None, host, False) for host in REBOUND),
        ("onoma.example", "Onoma.Example:8000", True),
        ("onoma.example", "evil.example", False),
        ("*", "evil.example", True),
        ("0.0.0.0", "192.0.2.1:8000", True),  # addresses cannot be rebound
        ("[::]", "[fe80::1]:8000", True),
        ("0.0.0.0", "evil.example", False),
    ],
)
def test_a_rebound_hostname_reads_no_answer(allowed: str | None, host: str, answered: bool) -> None:
    hosts = [*guard.LOOPBACK, *filter(None, [allowed])]
    app = guard.guarded(JSONResponse("an answer"), hosts, max_bytes=9)
    response = TestClient(app).get("/", headers={"Host": host})
    assert response.status_code == (200 if answered else 421)
    assert answered or ("--allow-host" in response.json()["detail"] and "\n" not in response.text)


def test_the_page_answers_for_the_hosts_that_are_allowed(served: Predictor) -> None:
    client = TestClient(web.create_app(served, ["onoma.example"]))
    responses = [client.get("/", headers={"Host": each}) for each in ("onoma.example", "localhost")]
    assert [response.status_code for response in responses] == [200, 421]


def test_an_allowed_host_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", "--allow-host", "http://onoma.example"])
    assert "http://onoma.example" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 200),
        ("https://localhost", 200),  # a proxy in front
        ("http://localhost:3000", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ],
)
def test_pages_of_other_sites_cannot_ask(client: TestClient, origin: str, status: int) -> None:
    response = client.post("/predict", json={"names": ["Abe"]}, headers={"Origin": origin})
    assert response.status_code == status
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "content",
    [
        b" " * (web.MAX_BODY_BYTES + 1),
        (b" " * 2**16 for _ in range(web.MAX_BODY_BYTES // 2**16 + 1)),
    ],
    ids=["announced", "not announced"],
)
def test_a_large_body_is_refused_in_json(client: TestClient, content: bytes) -> None:
    response = client.post("/predict", content=content, headers=JSON)
    assert response.status_code == 413 and "larger" in response.json()["detail"]


def test_large_bodies_together_are_bounded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODIES_BYTES", 1000)
    for _ in range(2):  # what is refused is given back
        assert client.post("/predict", content=b" " * 1001, headers=JSON).status_code == 503
        assert client.post("/predict", json={"names": ["Abe"]}).status_code == 200


def test_no_response_can_be_framed_or_sniffed(client: TestClient) -> None:
    responses = [
        client.get("/"),
        client.get("/nothing"),
        client.post("/predict", json={"names": []}),
        client.post("/predict", content=b" " * (web.MAX_BODY_BYTES + 1)),
        client.get("/", headers={"Host": "evil.example"}),
        client.get("/", headers={"Origin": "null"}),
    ]
    for response in responses:
        assert response.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
    assert [each.status_code for each in responses] == [200, 404, 422, 413, 421, 403]
