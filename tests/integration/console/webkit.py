"""WebKitGTK, driven by the WebDriver protocol (W3C) of Debian's `webkit2gtk-driver`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from darkroom_local.engines.ports import free_port
from tests.support.waiting import until

DRIVER: Final = "/usr/bin/WebKitWebDriver"
_BROWSER: Final = "lib/*/webkit2gtk-4.*/MiniBrowser"
_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""What the standard calls a reference to an element."""
KEYS: Final = {"Enter": "\ue007", "Tab": "\ue004", "ArrowDown": "\ue015", "Escape": "\ue00c"}


@dataclass
class WebKit:
    """A session of a browser with one window.

    Attributes:
        url: of the origin.
    """

    client: httpx.AsyncClient
    session: str
    url: str

    async def open(self, path: str) -> None:
        """Open a page of the origin, and wait until it is there."""
        await self._ask("POST", "url", url=self.url + path)

    async def here(self) -> str:
        """Return the address that is open, without its origin."""
        return str(await self._ask("GET", "url")).removeprefix(self.url)

    async def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page; return what it returns."""
        return await self._ask("POST", "execute/sync", script=script, args=list(arguments))

    async def told(self, script: str) -> Any:
        """Run the body of a function whose last argument is called with what it has to tell."""
        return await self._ask("POST", "execute/async", script=script, args=[])

    async def wait(self, script: str, what: str) -> None:
        """Wait until an expression holds in the page."""

        async def holds() -> bool:
            return bool(await self.run(f"return Boolean({script})"))

        await until(holds, what, limit=60)

    async def press(self, *keys: str) -> None:
        """Press keys one after the other, where the focus is."""
        acts = [
            {"type": kind, "value": KEYS.get(key, key)}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        await self._ask("POST", "actions", actions=[{"type": "key", "id": "keys", "actions": acts}])

    async def write(self, place: str, text: str) -> None:
        """Type into a field, by its CSS selector."""
        found = await self._ask("POST", "element", using="css selector", value=place)
        await self._ask("POST", f"element/{found[_ELEMENT]}/value", text=text)

    async def click(self, place: str) -> None:
        """Click an element, by its CSS selector."""
        found = await self._ask("POST", "element", using="css selector", value=place)
        await self._ask("POST", f"element/{found[_ELEMENT]}/click")

    async def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = await self.client.request(
            method, f"/session/{self.session}/{path}", json=body if method == "POST" else None
        )
        assert answer.status_code == 200, answer.text[:500]
        return answer.json()["value"]


@asynccontextmanager
async def webkit(display: str, home: Path, url: str) -> AsyncIterator[WebKit]:
    """Run a driver and a browser of an origin on a display, with a home of their own."""
    (browser, *_) = sorted(map(str, Path("/usr").glob(_BROWSER)))
    port = free_port()
    environment = {**os.environ, "DISPLAY": display, "HOME": str(home), "GDK_BACKEND": "x11"}
    driver = await asyncio.create_subprocess_exec(DRIVER, f"--port={port}", env=environment)
    try:
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, timeout=60, trust_env=False) as client:
            await until(lambda: client.get("/status"), "the driver", retry=(httpx.HTTPError,))
            options = {"binary": browser, "args": ["--automation"]}
            wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
            answer = await client.post("/session", json={"capabilities": wanted})
            assert answer.status_code == 200, answer.text
            made = WebKit(client, answer.json()["value"]["sessionId"], url)
            try:
                yield made
            finally:
                await client.delete(f"/session/{made.session}")
    finally:
        driver.terminate()
        await driver.wait()
