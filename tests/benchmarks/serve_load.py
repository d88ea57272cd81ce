"""200 clients at once against `onoma serve`: errors, answers per second, memory.

    python tests/benchmarks/serve_load.py --clients 200 --seconds 30

Clients and server share this machine's cores. Exits with 1 if any
answer is not 200, or if the server's memory grows by more than 10 % after the first quarter.
"""

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import time
from collections import Counter

import aiohttp
import psutil

NAMES = ["Abe", "Müller", "Nguyen", "O'Brien", "Иванов", "佐藤", "Kowalski", "Rossi", "García"]


async def client(
    session: aiohttp.ClientSession,
    address: str,
    end: float,
    seconds: list[float],
    seen: Counter[str],
) -> None:
    choose = random.Random()
    while time.perf_counter() < end:
        name = choose.choice(NAMES) + choose.choice("abcdefgh") * choose.randrange(4)
        path, body = choose.choice(
            [("predict", {"names": [name], "top": 5}), ("explain", {"name": name})]
        )
        start = time.perf_counter()
        try:
            async with session.post(f"{address}/{path}", json=body) as response:
                await response.read()
                seen[str(response.status)] += 1
        except aiohttp.ClientError as error:
            seen[type(error).__name__] += 1
        seconds.append(time.perf_counter() - start)


async def load(address: str, server: psutil.Process, args: argparse.Namespace) -> bool:
    seconds: list[float] = []
    seen: Counter[str] = Counter()
    end = time.perf_counter() + args.seconds
    memory = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        clients = [
            asyncio.create_task(client(session, address, end, seconds, seen))
            for _ in range(args.clients)
        ]
        while time.perf_counter() < end:
            await asyncio.sleep(args.seconds / 20)
            memory.append(server.memory_info().rss / 2**20)
        await asyncio.gather(*clients)
    first, last = memory[len(memory) // 4], max(memory[-3:])
    worst = sorted(seconds)[int(0.99 * len(seconds))]
    print(
        f"{args.clients} clients, {args.seconds} s: {len(seconds) / args.seconds:,.0f} answers/s, "
        f"median {statistics.median(seconds) * 1000:.0f} ms, 99 % within {worst * 1000:.0f} ms"
    )
    print(
        f"statuses: {dict(seen)}; memory {first:.0f} MB after a quarter, {last:.0f} MB at the end"
    )
    return set(seen) == {"200"} and last < 1.1 * first


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--clients", type=int, default=200)
    options.add_argument("--seconds", type=int, default=30)
    options.add_argument("--model", default="data/onnx")
    args = options.parse_args()
    serve = [sys.executable, "-m", "stages.commands.cli", "serve", "--port", "0"]
    serve += ["--model", args.model]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            address = server.stdout.readline().split()[1]
            good = asyncio.run(load(address, psutil.Process(server.pid), args))
        finally:
            server.terminate()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
