"""Slow clients against `onoma serve`: are others answered, does memory grow, does Ctrl-C stop it?

    python tests/benchmarks/serve_slow_clients.py --clients 1000 --seconds 60 --descriptors 1024

Needs the model in data/onnx. A slow client sends a header or a body of one byte a second, or
nothing; one of 50 asks for a large answer and does not read it. Each connects again a second after
it is disconnected. Meanwhile twenty requests a second, each on a new connection, are to be
answered. Clients and server share this machine's cores. Exits with 1 if an aim is missed: every
request answered within two seconds after the deadline of a header, memory within 10 % of that after
the first quarter, fewer than 5 lines on standard error, an end within 5 s of SIGINT while slow
clients are connected.
"""

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing import Process

import psutil

from stages.serving.server import HEADER_SECONDS

POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LARGE = json.dumps({"names": ["Abe"] * 256, "top": 1000}).encode()
LARGE = b"%sContent-Length: %d\r\n\r\n%s" % (POST, len(LARGE), LARGE)


async def slow_client(port: int, kind: int) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            with suppress(asyncio.IncompleteReadError):
                if kind == 0:  # asks for a large answer and does not read it
                    writer.transport.pause_reading()
                    await drip(writer, LARGE)
                elif kind % 3 == 0:  # half a header, then a byte a second
                    await drip(writer, POST)
                elif kind % 3 == 1:  # half a body, then a byte a second
                    await drip(writer, POST + b"Content-Length: 1000\r\n\r\n" + b'{"names": [')
                else:  # nothing
                    await reader.readexactly(1)
            writer.transport.abort()
        await asyncio.sleep(1)


def slow_clients(port: int, count: int) -> None:
    async def run() -> None:
        await asyncio.gather(*(slow_client(port, number % 50) for number in range(count)))

    asyncio.run(run())


async def drip(writer: asyncio.StreamWriter, start: bytes) -> None:
    writer.write(start)
    while not writer.is_closing():
        await asyncio.sleep(1)
        writer.write(b"x")


async def request(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"names": ["M\xc3\xbcller"]}'
    writer.write(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    answer = await reader.read()
    writer.close()
    if b" 200 OK\r\n" not in answer:
        raise OSError(answer)


async def timed(port: int) -> float:
    start = time.perf_counter()
    try:
        await asyncio.wait_for(request(port), 10)
    except (OSError, TimeoutError):
        return float("inf")
    return time.perf_counter() - start


async def attack(server: subprocess.Popen[str], port: int, args: argparse.Namespace) -> bool:
    requests, memory = [], []
    process = psutil.Process(server.pid)
    for _ in range(20 * args.seconds):
        requests.append(asyncio.create_task(timed(port)))
        memory.append(process.memory_info().rss / 2**20)
        await asyncio.sleep(0.05)
    seconds = await asyncio.gather(*requests)
    share = sum(each <= 1 for each in seconds) / len(seconds)
    first, last = memory[len(memory) // 4], max(memory[-len(memory) // 10 :])
    print(f"{args.clients} slow clients, {args.seconds} s, {args.descriptors} file descriptors")
    print(f"answered within a second: {share:.2%} of {len(seconds)} requests")
    print(f"median {statistics.median(seconds) * 1000:.0f} ms, slowest {max(seconds):.2f} s")
    print(
        f"memory: {memory[0]:.0f} MB at first, {first:.0f} after a quarter, {last:.0f} at the end"
    )
    start = time.perf_counter()
    server.send_signal(2)
    while server.poll() is None and time.perf_counter() < start + 30:
        await asyncio.sleep(0.01)
    stopped = time.perf_counter() - start
    print(f"stopped {stopped:.2f} s after Ctrl-C with status {server.poll()}")
    return max(seconds) < HEADER_SECONDS + 2 and last < 1.1 * first and stopped < 5


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--clients", type=int, default=1000)
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--descriptors", type=int, default=1024)
    options.add_argument("--model", default="data/onnx")
    args = options.parse_args()
    limits = (args.descriptors, args.descriptors)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of the clients
    serve = [sys.executable, "-m", "stages.commands.cli", "serve", "--port", "0"]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [*serve, "--model", args.model],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
        ) as server,
    ):
        try:
            assert server.stdout
            port = int(server.stdout.readline().split()[1].rpartition(":")[2])
            slow = Process(target=slow_clients, args=(port, args.clients), daemon=True)
            slow.start()
            good = asyncio.run(attack(server, port, args))
            slow.kill()
        finally:
            server.kill()
        log.seek(0)
        lines = log.readlines()
    print(f"{len(lines)} lines on standard error, {sum(map(len, lines))} characters", *lines[:5])
    sys.exit(0 if good and len(lines) < 5 else 1)


if __name__ == "__main__":
    main()
