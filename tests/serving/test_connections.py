"""Slow clients, too many of them and malformed requests neither stop the server nor keep it."""

import asyncio
import json
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from stages.commands import cli
from stages.serving.connections import Server
from tests.conftest import ROOT, wait_until

POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
DEADLINE = 0.5


def connect(port: int, sent: bytes = b"", patience: float = 10) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), patience)
    client.sendall(sent)
    return client


def answer(client: socket.socket) -> bytes:
    """All that arrives until the server disconnects the client."""
    found = b""
    try:
        while part := client.recv(2**16):
            found += part
    except ConnectionResetError:
        pass
    return found


async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Answers with the body's bytes; /large with many more, /slow after two deadlines."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * DEADLINE)
    content = b"x" * 50_000_000 if scope["path"] == "/large" else b"read " + body
    length = (b"content-length", b"%d" % len(content))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture
def server() -> Iterator[tuple[Server, int]]:
    """A running server with a short deadline, and its port."""
    server = Server(app, DEADLINE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield server, listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "start",
    [b"", POST, POST + b"Content-Length: 99\r\n\r\n", GET],
    ids=["nothing", "half a header", "half a body", "a second request"],
)
def test_bytes_that_drip_do_not_extend_the_deadline(
    server: tuple[Server, int], start: bytes
) -> None:
    begin = time.monotonic()
    with connect(server[1], start) as client, pytest.raises(OSError):
        while time.monotonic() < begin + 10:
            client.sendall(b"x")
            time.sleep(0.05)
    assert DEADLINE <= time.monotonic() - begin < DEADLINE + 1


def test_an_answer_that_is_not_read_is_dropped(server: tuple[Server, int]) -> None:
    request = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(server[1], 3 * request) as client:
        time.sleep(DEADLINE)
        wait_until(lambda: not server[0].state.connections, 10)
        assert len(answer(client)) < 50_000_000


def test_an_answer_may_take_longer_than_the_deadline(server: tuple[Server, int]) -> None:
    with connect(server[1], GET.replace(b"/ ", b"/slow ")) as client:
        assert answer(client).endswith(b"\r\n\r\nread ")


def test_a_connection_that_asks_again_in_time_is_kept(server: tuple[Server, int]) -> None:
    client = HTTPConnection("127.0.0.1", server[1])
    client.connect()
    client.auto_open = False  # an error if the server disconnects
    for _ in range(12):
        client.request("GET", "/")
        assert client.getresponse().read() == b"read "
        time.sleep(DEADLINE / 5)
    client.close()


def test_a_connection_too_many_replaces_the_one_that_waited_longest(
    server: tuple[Server, int],
) -> None:
    server[0].state.capacity = 3
    with ExitStack() as stack:
        busy = stack.enter_context(connect(server[1], GET.replace(b"/ ", b"/slow ")))
        time.sleep(DEADLINE / 2)  # its request is read
        begin = time.monotonic()
        oldest, second, third = (stack.enter_context(connect(server[1], POST)) for _ in range(3))
        assert answer(oldest) == b"" and time.monotonic() < begin + DEADLINE
        for client in (second, third):
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
        assert answer(busy).endswith(b"\r\n\r\nread ")


def test_what_is_not_http_gets_400_and_all_of_it_one_line(
    server: tuple[Server, int], capfd: pytest.CaptureFixture[str]
) -> None:
    for sent in 20 * [b"\x16\x03\x01\x02\r\n\r\n", GET.replace(b"Host", b"Host: a\r\nHost")]:
        with connect(server[1], sent) as client:
            header = answer(client).lower()
        assert header.startswith(b"http/1.1 400 ") and b"x-frame-options: deny" in header
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and error.startswith("serve: ")


def test_what_is_not_http_after_an_answer_is_no_error(
    server: tuple[Server, int], capfd: pytest.CaptureFixture[str]
) -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    for sent in (chunked + b"zz\r\n", chunked + b"1\r\nx\r\nzz\r\n", GET + b"\0\r\n\r\n"):
        with connect(server[1], sent) as client:
            assert b"HTTP/1.1 400 " in answer(client)
    assert "Traceback" not in capfd.readouterr().err


@contextmanager
def process(*program: str | Path, files: int = 256) -> Iterator[tuple[Any, int, Any]]:
    """A Python program that serves; its port; what it writes on standard error."""
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [sys.executable, *program],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        ) as running,
    ):
        try:
            assert running.stdout
            yield running, int(running.stdout.readline().split()[1].rpartition(":")[2]), log
        finally:
            running.kill()


def serve(folder: Path) -> tuple[str | Path, ...]:
    return "-m", "stages.commands.cli", "serve", "--port", "0", "--model", folder


def predict(port: int) -> list[str]:
    body = b'{"names": ["Abe"]}'
    header = b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connect(port, POST + header + body, 3) as client:
        answers = json.loads(answer(client).partition(b"\r\n\r\n")[2])["predictions"]
    return [each["name"] for each in answers]


@pytest.mark.slow
def test_half_open_requests_neither_lock_out_others_nor_fill_the_log(onnx_folder: Path) -> None:
    with process(*serve(onnx_folder)) as (running, port, log), ExitStack() as stack:
        assert predict(port) == ["Abe"]
        for _ in range(300):  # more than the process may open files
            stack.enter_context(connect(port, POST))
        assert predict(port) == ["Abe"]
        running.send_signal(signal.SIGINT)
        assert running.wait(5) == 130
        log.seek(0)
        assert len(log.readlines()) < 5


def test_too_few_open_files_are_refused(
    onnx_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (64, 64))
    assert cli.main(["serve", "--model", str(onnx_folder), "--port", "0"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "ulimit -n" in error


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_half_sent_body_does_not_keep_the_server(onnx_folder: Path, stop: int) -> None:
    with process(*serve(onnx_folder)) as (running, port, log):
        with connect(port, POST + b"Content-Length: 99\r\n\r\n{"):
            assert predict(port) == ["Abe"]
            running.send_signal(stop)
            assert running.wait(5) == (130 if stop == signal.SIGINT else -stop)
        log.seek(0)
        assert "Traceback" not in log.read()


BUSY = """
import socket, time
from anyio import to_thread
from stages.serving import connections

async def app(scope, receive, send):
    await to_thread.run_sync(time.sleep, 60)

connections.STOP = {stop}
with socket.create_server(("127.0.0.1", 0)) as listener:
    print("serve: :%d" % listener.getsockname()[1], flush=True)
    connections.Server(app).run([listener])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "signals"), [(1, 1), (60, 2)], ids=["the time is over", "again"])
def test_a_computation_does_not_keep_the_server(stop: int, signals: int) -> None:
    with process("-c", BUSY.format(stop=stop)) as (running, port, log), connect(port, GET):
        time.sleep(0.5)
        for _ in range(signals):
            running.send_signal(signal.SIGINT)
            time.sleep(0.3)
        assert running.wait(5) > 0
        log.seek(0)
        assert log.read() == ""
