"""The page of `onoma serve` in a real Chromium: what it shows, by the keyboard alone; its pictures.

    python -m tests.benchmarks.serve_page --pictures docs

Needs `chromium` (Debian: apt-get install chromium) and the model in data/onnx. Types a name key by
key; moves to the slider by Tab and changes it by arrow keys; answers a list of names; looks at the
page in dark colours, 390 pixels wide; drops a table; records every request, none of which may leave
this machine. Exits with 1 if any of this fails. Writes serve.png and serve-many.png.
"""

import asyncio
import base64
import itertools
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.benchmarks.common import options, served

NAME = "Papadopoulos"
LIST = "\n".join(
    ["Müller", "MÜLLER", "Ivanova", "Ιωαννίδης", "Xqzvkk", "თბილისი", "Rossi", "A. Merkel"] * 40
)
FILE = 'id;first name;Last Name\n1;Jürgen;"Mül\nler"\n2;Anna;Rossi\n3;Ann;\n4;Abe;Garc\xeda\n'
ROWS = "document.querySelectorAll('#rows tbody tr').length"
NAMES = "[...document.querySelectorAll('#rows td:first-child')].map(td => td.textContent).join('|')"


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
            message = await self._socket.receive_json(timeout=60)
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.faults.append(str(message["params"]))
            if message.get("id") == number:
                return message["result"]

    async def value(self, expression: str) -> Any:
        result = await self.do("Runtime.evaluate", expression=expression, awaitPromise=True)
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        end = time.perf_counter() + 60
        while not await self.value(expression):
            if time.perf_counter() > end:
                raise TimeoutError(expression)
            await asyncio.sleep(0.01)

    async def key(self, key: str, **text: str) -> None:
        options = {"key": key, "windowsVirtualKeyCode": {"Tab": 9, "ArrowRight": 39}.get(key, 0)}
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            await self.do("Input.dispatchKeyEvent", type=kind, **options, **text)
            text = {}

    async def picture(self, path: Path | None, width: int, height: int) -> None:
        """Make the window so large; the page has to fit; keep what it shows."""
        await self.do("Emulation.setScrollbarsHidden", hidden=True)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.do("Emulation.setDeviceMetricsOverride", **size)
        wide = await self.value("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} pixels wide on a screen of {width}"
        if path:
            image = await self.do("Page.captureScreenshot", format="png")
            path.write_bytes(base64.b64decode(image["data"]))
            print(f"wrote {path}, {path.stat().st_size:,} bytes")


async def visit(browser: Browser, address: str, pictures: Path | None) -> None:
    for domain in ("Network", "Runtime", "Log", "Page"):
        await browser.do(f"{domain}.enable")
    await browser.do("Page.bringToFront")
    await browser.do("Page.navigate", url=address)
    await browser.until("document.readyState === 'complete'")
    assert await browser.value("document.activeElement.id") == "name"
    for length, character in enumerate(NAME, 1):
        await browser.key(character, text=character)
        await browser.until(f"document.querySelectorAll('#characters li').length === {length}")
    assert await browser.value("document.querySelectorAll('#bars tr').length") > 1
    await browser.picture(pictures and pictures / "serve.png", 760, 1240)

    await browser.key("Tab")
    assert await browser.value("document.activeElement.id") == "abstain"
    for _ in range(19):
        await browser.key("ArrowRight")
    await browser.until("document.getElementById('threshold').value === '95%'")
    sure = await browser.value("parseFloat(document.querySelector('#bars td.number').textContent)")
    unsure = "document.getElementById('answer').textContent.startsWith('Unsure')"
    await browser.until(f"{unsure} === {str(sure < 95).lower()}")

    await browser.value("document.getElementById('abstain').value = 0")
    await browser.value(f"document.getElementById('many').value = {LIST!r}")
    await browser.value("document.getElementById('go').click()")
    await browser.until("!document.getElementById('list').hidden")
    assert await browser.value(ROWS) == 200  # of a longer list
    assert await browser.value("document.querySelectorAll('#shares tr').length") > 0
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    await browser.do("Emulation.setEmulatedMedia", features=[dark])
    await browser.picture(pictures and pictures / "serve-many.png", 390, 2100)

    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        Path(file.name).write_bytes(FILE.encode("cp1252"))
        document = (await browser.do("DOM.getDocument"))["root"]["nodeId"]
        node = await browser.do("DOM.querySelector", nodeId=document, selector="#file")
        await browser.do("DOM.setFileInputFiles", files=[file.name], **node)
        await browser.until(f"{ROWS} === 4")
        progress = await browser.value("document.getElementById('progress').textContent")
        assert "cp1252" in progress and "Last Name" in progress, progress
        assert await browser.value(NAMES) == "Mül\nler|Rossi||García"
        await browser.value("document.getElementById('column').value = 'first name'")
        await browser.value("document.getElementById('column').dispatchEvent(new Event('change'))")
        await browser.until(f"{NAMES} === 'Jürgen|Anna|Ann|Abe'")

    unseen = "[...document.querySelectorAll('[hidden]')].every(e => !e.getClientRects().length)"
    assert await browser.value(unseen)  # no style of the page shows what is hidden
    elsewhere = [url for url in browser.requests if not url.startswith((address, "data:"))]
    assert not elsewhere and not browser.faults, (elsewhere, browser.faults)
    print(f"{len(browser.requests)} requests, all to {address}; the keyboard alone suffices")


async def open_tab(port: int, address: str, pictures: Path | None) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.put("/json/new?about:blank") as response:
            tab = (await response.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(tab, max_msg_size=0) as socket:
            await visit(Browser(socket), address, pictures)


def main() -> None:
    args = options(__doc__, pictures=Path, chromium="chromium").parse_args()
    command = [args.chromium, "--headless", "--no-sandbox", "--remote-debugging-port=0"]
    with tempfile.TemporaryDirectory() as profile, served() as (_, address):
        command.append(f"--user-data-dir={profile}")
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as chromium:
            try:
                opened = Path(profile, "DevToolsActivePort")
                while not (opened.exists() and opened.read_text()):
                    time.sleep(0.05)
                port = int(opened.read_text().split()[0])
                asyncio.run(open_tab(port, address, args.pictures))
            finally:
                chromium.terminate()


if __name__ == "__main__":
    main()
