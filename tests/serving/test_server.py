"""`onoma serve` as a process: slow clients and malformed requests neither stop it nor keep it."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from stages.serving.guard import BODY_SECONDS
from stages.serving.server import HEADER_SECONDS
from tests.conftest import ROOT

POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
FILES = 256  # that the server may open

pytestmark = pytest.mark.slow


@contextmanager
def running(folder: Path, log: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server process with few file descriptors, and its port."""
    program = f"ulimit -n {FILES}; exec python -m stages.commands.cli serve --port 0 --model"
    command = ("bash", "-c", f"{program} {folder} 2>{log}")
    pipe: dict = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipe) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("serve: http://127.0.0.1:") and "(Ctrl-C stops)" in line
            yield process, int(line.split()[1].rpartition(":")[2])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "stderr"


@pytest.fixture(scope="module")
def port(onnx_folder: Path, log: Path) -> Iterator[int]:
    with running(onnx_folder, log) as (_, port):
        yield port


def connect(port: int, sent: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 20)
    client.sendall(sent)
    return client


def drip(port: int, sent: bytes, more: bytes = b"") -> tuple[bytes, float]:
    """All that arrives until the server disconnects, and seconds until then."""
    begin, received = time.monotonic(), b""
    with connect(port, sent) as client:
        client.settimeout(0.05)
        while time.monotonic() < begin + 2 * BODY_SECONDS:
            try:
                client.sendall(more)
                if not (part := client.recv(2**16)):
                    break
                received += part
            except TimeoutError:
                pass
            except OSError:
                break
    return received, time.monotonic() - begin


def predict(port: int) -> list[str]:
    url, body = f"http://127.0.0.1:{port}/predict", {"names": ["Abe"]}
    response = httpx.post(url, json=body, timeout=20, trust_env=False)
    return [answer["name"] for answer in response.json()["predictions"]]


def test_bytes_that_drip_do_not_extend_a_deadline(port: int) -> None:
    half_a_body = POST + b"Content-Length: 999\r\n\r\n"
    clients = {  # what they send, and send again and again; what they get, and until when
        "nothing": (b"", b"", b"", HEADER_SECONDS),
        "half a header": (POST, b"x", b"", HEADER_SECONDS),
        "a second request": (GET, b"x", b"HTTP/1.1 200 OK", HEADER_SECONDS),
        "half a body": (half_a_body, b"x", b"HTTP/1.1 408 ", BODY_SECONDS),
    }
    with ThreadPoolExecutor() as pool:
        dripped = {name: pool.submit(drip, port, *clients[name][:2]) for name in clients}
    for name, (*_, first_line, deadline) in clients.items():
        received, seconds = dripped[name].result()
        assert deadline - 0.1 <= seconds < deadline + 2, name
        assert received.startswith(first_line), name


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\r\n\r\n", b"400"),
        (GET.replace(b"Host", b"Connection: close\r\nHost: a\r\nHost"), b"421"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        # Two lengths: the chunks count, and nothing after them is taken for a request.
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET, b"4"),
    ],
)
def test_malformed_requests_are_refused_and_disconnected(
    port: int, log: Path, sent: bytes, status: bytes
) -> None:
    received, seconds = drip(port, sent)
    assert received.startswith(b"HTTP/1.1 " + status) and received.count(b"HTTP/1.1 ") == 1
    assert seconds < HEADER_SECONDS and log.read_text() == ""


def test_half_open_requests_lock_out_others_until_their_deadline(port: int, log: Path) -> None:
    with ExitStack() as stack:
        for _ in range(FILES + 44):  # more than are served at once, so that some have to wait
            stack.enter_context(connect(port, POST))
        begin = time.monotonic()
        assert predict(port) == ["Abe"]
        assert time.monotonic() < begin + HEADER_SECONDS + 2
        assert predict(port) == ["Abe"]
    assert log.read_text() == ""


@pytest.mark.parametrize(
    ("stop", "status", "line"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_slow_clients_do_not_keep_the_server_from_stopping(
    onnx_folder: Path, tmp_path: Path, stop: int, status: int, line: str
) -> None:
    with running(onnx_folder, tmp_path / "log") as (process, port), ExitStack() as stack:
        for start in (b"", POST, GET, POST + b"Content-Length: 99\r\n\r\n{"):
            stack.enter_context(connect(port, start))
        assert predict(port) == ["Abe"]
        process.send_signal(stop)
        assert process.wait(5) == status
    assert (tmp_path / "log").read_text() == f"onoma: {line}\n"
