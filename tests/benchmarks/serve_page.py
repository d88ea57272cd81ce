"""The page of `onoma serve` in a real Chromium: time per answer, keyboard alone, screenshot.

    python tests/benchmarks/serve_page.py --screenshot docs/serve.png --many docs/serve-many.png

Needs `chromium` (Debian: apt-get install chromium) and the model in data/onnx. Types a name key
by key and measures from each key to the changed page; moves to the slider by Tab and changes it by
arrow keys; answers a list of names; looks at the page in dark colours, 390 pixels wide; records
every request, none of which may leave this machine. Exits with 1 if any of this fails.
"""

import argparse
import asyncio
import base64
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

NAME = "Papadopoulos"
LIST = "\n".join(
    ["Müller", "MÜLLER", "Ivanova", "Ιωαννίδης", "Xqzvkk", "თბილისი", "Rossi", "A. Merkel"] * 40
)
FILE = 'id;first name;Last Name\n1;Jürgen;"Mül\nler"\n2;Anna;Rossi\n3;Ann;\n4;Abe;Garc\xeda\n'
ANSWERED = "document.getElementById('answer').textContent"
BEST = "document.querySelector('#bars td.number').textContent"
TILES = "document.querySelectorAll('#characters li').length"


class Browser:
    """One tab, spoken to by the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.requests: list[str] = []
        self.faults: list[str] = []

    async def do(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=30)
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.faults.append(str(message["params"]))
            if message.get("id") == number:
                return message["result"]

    async def value(self, expression: str) -> Any:
        result = await self.do("Runtime.evaluate", expression=expression, awaitPromise=True)
        return result["result"].get("value")

    async def key(self, key: str, text: str = "") -> None:
        code = {"Tab": 9, "ArrowRight": 39}.get(key, 0)
        common = {"key": key, "windowsVirtualKeyCode": code}
        kind = "keyDown" if text else "rawKeyDown"
        await self.do(
            "Input.dispatchKeyEvent", type=kind, **common, **({"text": text} if text else {})
        )
        await self.do("Input.dispatchKeyEvent", type="keyUp", **common)

    async def resize(self, width: int, height: int) -> None:
        await self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def until(self, expression: str) -> None:
        end = time.perf_counter() + 60
        while not await self.value(expression):
            if time.perf_counter() > end:
                raise TimeoutError(expression)
            await asyncio.sleep(0.002)


async def visit(address: str, port: int, screenshot: Path | None, many: Path | None) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as response:
            tab = (await response.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(tab, max_msg_size=0) as socket:
            browser = Browser(socket)
            for domain in ("Network", "Runtime", "Log", "Page"):
                await browser.do(f"{domain}.enable")
            await browser.do("Page.bringToFront")
            await browser.do("Page.navigate", url=address)
            await browser.until("document.readyState === 'complete'")
            assert await browser.value("document.activeElement.id") == "name"

            seconds = []
            for length, character in enumerate(NAME, 1):
                start = time.perf_counter()
                await browser.key(character, character)
                await browser.until(f"{TILES} === {length}")
                seconds.append(time.perf_counter() - start)
            answer = await browser.value(ANSWERED)
            assert await browser.value("document.querySelectorAll('#bars tr').length") > 1, answer
            if screenshot:
                await browser.resize(760, 1240)
                await shoot(browser, screenshot)

            await browser.key("Tab")
            assert await browser.value("document.activeElement.id") == "abstain"
            for _ in range(19):
                await browser.key("ArrowRight")
            await browser.until("document.getElementById('threshold').value === '95%'")
            sure = await browser.value(f"parseFloat({BEST}) >= 95")
            await browser.until(f"{ANSWERED}.startsWith('Unsure') !== {str(sure).lower()}")

            await browser.value("document.getElementById('abstain').value = 0")
            await browser.value(f"document.getElementById('many').value = {LIST!r}")
            await browser.value("document.getElementById('go').click()")
            await browser.until("!document.getElementById('list').hidden")
            rows = "document.querySelectorAll('#rows tbody tr').length"
            assert await browser.value(rows) == 200  # of a longer list
            assert await browser.value("document.querySelectorAll('#shares tr').length") > 0
            await browser.resize(390, 2100)
            await browser.do(
                "Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": "dark"}],
            )
            width = await browser.value("document.documentElement.scrollWidth")
            assert width <= 390, f"{width} pixels wide on a screen of 390"
            if many:
                await shoot(browser, many)

            with tempfile.NamedTemporaryFile(suffix=".csv") as file:
                Path(file.name).write_bytes(FILE.encode("cp1252"))
                document = (await browser.do("DOM.getDocument"))["root"]["nodeId"]
                node = await browser.do("DOM.querySelector", nodeId=document, selector="#file")
                await browser.do("DOM.setFileInputFiles", files=[file.name], **node)
                await browser.until(f"{rows} === 4")
                progress = await browser.value("document.getElementById('progress').textContent")
                assert "cp1252" in progress and "Last Name" in progress, progress
                cells = "[...document.querySelectorAll('#rows td:first-child')]"
                names = f"{cells}.map(td => td.textContent)"
                assert await browser.value(f"{names}.join('|')") == "Mül\nler|Rossi||García"
                await browser.value("document.getElementById('column').value = 'first name'")
                event = "document.getElementById('column').dispatchEvent(new Event('change'))"
                await browser.value(event)
                await browser.until(f"{names}.join('|') === 'Jürgen|Anna|Ann|Abe'")

            elsewhere = [url for url in browser.requests if not url.startswith((address, "data:"))]
            assert not elsewhere, elsewhere
            assert not browser.faults, browser.faults
    pause = 40
    print(f"{NAME}: {answer}")
    print(
        f"key to changed page, its pause of {pause} ms included: "
        f"median {statistics.median(seconds) * 1000:.0f} ms, most {max(seconds) * 1000:.0f} ms"
    )
    print(f"{len(browser.requests)} requests, all to {address}; keyboard alone suffices")


async def shoot(browser: Browser, path: Path) -> None:
    await browser.do("Emulation.setScrollbarsHidden", hidden=True)
    image = await browser.do("Page.captureScreenshot", format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(image["data"]))
    print(f"wrote {path}, {path.stat().st_size:,} bytes")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--screenshot", type=Path)
    options.add_argument("--many", type=Path, help="screenshot of a list, narrow and dark")
    options.add_argument("--chromium", default="chromium")
    options.add_argument("--model", default="data/onnx")
    args = options.parse_args()
    serve = [sys.executable, "-m", "stages.commands.cli", "serve", "--port", "0"]
    serve += ["--model", args.model]
    chromium_command = [args.chromium, "--headless", "--no-sandbox", "--remote-debugging-port=0"]
    with (
        tempfile.TemporaryDirectory() as profile,
        subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server,
        subprocess.Popen(
            [*chromium_command, f"--user-data-dir={profile}"], stderr=subprocess.DEVNULL
        ) as chromium,
    ):
        try:
            assert server.stdout
            address = server.stdout.readline().split()[1]
            opened = Path(profile, "DevToolsActivePort")
            while not (opened.exists() and opened.read_text()):
                time.sleep(0.05)
            port = int(opened.read_text().split()[0])
            asyncio.run(visit(address, port, args.screenshot, args.many))
        finally:
            chromium.terminate()
            server.terminate()
            chromium.wait()


if __name__ == "__main__":
    main()
