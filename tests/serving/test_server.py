"""`onoma serve` as a process: slow clients and malformed requests neither stop it nor keep it."""

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

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
    command = [sys.executable, "-m", "stages.commands.cli", "serve", "--port", "0"]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command, "--model", folder],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        ) as process,
    ):
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line.startswith("serve: http://127.0.0.1:") and line.endswith("(Ctrl-C stops)\n")
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


def connect(port: int, sent: bytes = b"", patience: float = 20) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), patience)
    client.sendall(sent)
    return client


def answer(client: socket.socket) -> bytes:
    """All that arrives until the server disconnects the client."""
    received = b""
    try:
        while part := client.recv(2**16):
            received += part
    except ConnectionResetError:
        pass
    return received


def predict(port: int) -> list[str]:
    body = b'{"names": ["Abe"]}'
    header = b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connect(port, POST + header + body) as client:
        predictions = json.loads(answer(client).partition(b"\r\n\r\n")[2])["predictions"]
    return [each["name"] for each in predictions]


def test_bytes_that_drip_do_not_extend_the_deadline_of_a_header_or_a_body(port: int) -> None:
    starts = {
        "nothing": (b"", b"", HEADER_SECONDS),
        "half a header": (POST, b"", HEADER_SECONDS),
        "a second request": (GET, b"HTTP/1.1 200 OK", HEADER_SECONDS),
        "half a body": (POST + b"Content-Length: 9999\r\n\r\n", b"HTTP/1.1 408 ", BODY_SECONDS),
    }
    begin = time.monotonic()
    with ExitStack() as stack:
        clients = {name: stack.enter_context(connect(port, starts[name][0])) for name in starts}
        ended: dict[str, float] = {}
        received = dict.fromkeys(starts, b"")
        while clients and time.monotonic() < begin + 2 * BODY_SECONDS:
            for name, client in list(clients.items()):
                client.setblocking(False)
                try:
                    if name != "nothing":
                        client.sendall(b"x")
                    received[name] += (part := client.recv(2**16))
                    is_open = bool(part)
                except BlockingIOError:
                    is_open = True
                except OSError:
                    is_open = False
                if not is_open:
                    ended[name] = time.monotonic() - begin
                    del clients[name]
            time.sleep(0.05)
    for name, (_, first_line, seconds) in starts.items():
        assert seconds - 0.1 <= ended[name] < seconds + 1.5, name
        assert received[name].startswith(first_line), name


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
    with connect(port, sent) as client:
        received = answer(client)
    assert received.startswith(b"HTTP/1.1 " + status) and received.count(b"HTTP/1.1 ") == 1
    assert "Traceback" not in log.read_text()


def test_half_open_requests_lock_out_others_until_their_deadline(port: int, log: Path) -> None:
    with ExitStack() as stack:
        for _ in range(FILES + 44):  # more than are served at once, so that some have to wait
            stack.enter_context(connect(port, POST))
        begin = time.monotonic()
        assert predict(port) == ["Abe"]
        assert time.monotonic() < begin + HEADER_SECONDS + 2
        assert predict(port) == ["Abe"]
    assert len(log.read_text().splitlines()) < 5


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_slow_clients_do_not_keep_the_server_from_stopping(
    onnx_folder: Path, tmp_path: Path, number: int, status: int
) -> None:
    log = tmp_path / "stderr"
    with running(onnx_folder, log) as (process, port), ExitStack() as stack:
        for start in (b"", POST, GET, POST + b"Content-Length: 99\r\n\r\n{"):
            stack.enter_context(connect(port, start))
        assert predict(port) == ["Abe"]
        process.send_signal(number)
        assert process.wait(5) == status
    assert log.read_text() in ("onoma: interrupted\n", "onoma: terminated\n")
