"""Many and slow clients against `onoma serve`: who is answered, how does its memory grow?

    python -m tests.benchmarks.serve_load --clients 50 --pause 0
    python -m tests.benchmarks.serve_load --slow 1000 --seconds 40

Needs the model in data/onnx. Each client asks for one name on a new connection, and again after a
pause (1 s). A slow client sends a header or a body of one byte a second, or nothing; one of 50 asks
for a large answer and does not read it; each connects again a second after it is disconnected. All
share this machine's cores. Exits with 1 if an aim is missed: every request answered, memory within
10 % of that after the first quarter, fewer than 5 lines on standard error, an end within 5 s of
SIGINT while slow clients are connected.
"""

import argparse
import asyncio
import json
import resource
import signal
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing import Process

import psutil

from tests.benchmarks.common import options, served

GIVE_UP_SECONDS = 10
POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def request(names: list[str], top: int) -> bytes:
    body = json.dumps({"names": names, "top": top}).encode()
    return b"%sConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (POST, len(body), body)


# What slow clients send before a byte a second: half a header, half a body, nothing at all.
STARTS = (POST, POST + b'Content-Length: 1000\r\n\r\n{"names": [', b"")


async def slow_client(port: int, number: int) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            start = STARTS[number % 3]
            if number % 50 == 0:  # asks for a large answer and does not read it
                writer.transport.pause_reading()
                start = request(["Abe"] * 256, 1000)
            writer.write(start)
            while start and not writer.is_closing():
                await asyncio.sleep(1)
                writer.write(b"x")
            await reader.read(1)  # until it is disconnected
            writer.transport.abort()
        await asyncio.sleep(1)


def slow_clients(port: int, count: int) -> None:
    async def run() -> None:
        await asyncio.gather(*(slow_client(port, number) for number in range(count)))

    asyncio.run(run())


async def ask(port: int) -> float:
    """Seconds until the answer; infinite without one."""
    start = time.perf_counter()
    try:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(["Müller"], 3))
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return float("inf")
    return time.perf_counter() - start if b" 200 OK\r\n" in answer else float("inf")


async def client(port: int, pause: float, end: float, seconds: list[float]) -> None:
    while time.perf_counter() < end:
        seconds.append(await ask(port))
        await asyncio.sleep(pause)


async def load(server: psutil.Popen, port: int, args: argparse.Namespace) -> bool:
    """Ask for so many seconds, then stop the server; whether the aims are met."""
    seconds: list[float] = []
    memory = []
    end = time.perf_counter() + args.seconds
    clients = [client(port, args.pause, end, seconds) for _ in range(args.clients)]
    asking = asyncio.gather(*clients)
    while not asking.done():
        memory.append(server.memory_info().rss / 2**20)
        await asyncio.sleep(0.1)
    answered = [each for each in seconds if each < float("inf")]
    first, last = memory[len(memory) // 4], max(memory[-len(memory) // 10 :])
    print(f"{args.clients} clients, {args.slow} slow ones, {args.seconds} s")
    print(f"answered: {len(answered)} of {len(seconds)}, {len(answered) / args.seconds:.0f}/s")
    print(
        f"within 1 s: {sum(each <= 1 for each in answered) / len(seconds):.1%}; "
        f"median {statistics.median(seconds) * 1000:.0f} ms, slowest {max(seconds):.2f} s"
    )
    print(f"memory: {first:.0f} MB after a quarter, {last:.0f} MB at the end")
    start = time.perf_counter()
    server.send_signal(signal.SIGINT)
    with suppress(psutil.TimeoutExpired):
        server.wait(30)
    stopped = time.perf_counter() - start
    print(f"stopped {stopped:.2f} s after Ctrl-C with status {server.poll()}")
    return len(answered) == len(seconds) and last < 1.1 * first and stopped < 5


def main() -> None:
    args = options(__doc__, clients=20, pause=1.0, slow=0, seconds=30).parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with tempfile.TemporaryFile("w+") as log:
        with served(stderr=log) as (server, address):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of the clients
            port = int(address.rpartition(":")[2])
            slow = Process(target=slow_clients, args=(port, args.slow), daemon=True)
            slow.start()
            good = asyncio.run(load(server, port, args))
            slow.kill()
        log.seek(0)
        lines = log.readlines()
    print(f"{len(lines)} lines on standard error", *lines[:5])
    sys.exit(0 if good and len(lines) < 5 else 1)


if __name__ == "__main__":
    main()
