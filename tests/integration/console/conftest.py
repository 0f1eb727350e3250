"""One api, one browser and what a house has in it, for the walks of a module."""

import gzip
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from playwright.async_api import Browser, Page, Request, ViewportSize, async_playwright, expect
from pydicom.dataset import Dataset

from darkroom_local.commands.phantom import shepp_logan
from tests.bench.test_ohif import CHROMIUM
from tests.integration.api.accounts.people import PASSWORD, add_user
from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, new_uid

ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
FIREFOX = "/usr/bin/firefox-esr"
BROWSERS = ("chromium", "firefox")
ZONE = "Asia/Tokyo"
"""Of whoever looks: that of no server."""
PICTURES = os.environ.get("CONSOLE_PICTURES")
COLOURS = 96
"""Of a picture: enough for a page, and the repository stays small."""
HOSTILE = "<script>alert(1)</script>^\u202egpj.exe&quot;'"
MARKUP = "<img src=x onerror=alert(1)>"
PATIENCE = 60_000.0
"""Milliseconds until what a page has to show is missing: two cores have more to do."""
expect.set_options(timeout=PATIENCE)
_SIDE = 128
"""Pixels of an image."""
SIZE: ViewportSize = {"width": 1280, "height": 720}


@dataclass
class Walk:
    """Somebody at the console."""

    api: Api
    page: Page
    strangers: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def open(self, path: str) -> None:
        await self.page.goto(self.api.url + path)

    async def sign_in(self, username: str, password: str = PASSWORD) -> None:
        await self.open("/")
        await self.page.get_by_label("User name").fill(username)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url("**/worklist")

    async def picture(self, name: str) -> None:
        """Keep a picture where `CONSOLE_PICTURES` says; by Chromium, whose pages take no style."""
        browser = self.page.context.browser
        if PICTURES and browser is not None and browser.browser_type.name == "chromium":
            taken = Image.open(BytesIO(await self.page.screenshot(timeout=60_000))).convert("RGB")
            few = taken.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            few.save(Path(PICTURES) / f"{name}.png", optimize=True)

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        own = urlsplit(self.api.url).netloc
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != own:
            self.strangers.append(request.url)


@asynccontextmanager
async def a_browser(name: str = "chromium", *, webgl: bool = False) -> AsyncIterator[Browser]:
    """Start Debian's Chromium, or its Firefox by WebDriver BiDi, with a display.

    Only with `webgl` has Chromium a card of software, which draws every page of its own accord, at
    twice the cost.
    """
    async with async_playwright() as browsers:
        if name == "chromium":
            card = "--use-angle=swiftshader" if webgl else "--disable-gpu"
            browser = await browsers.chromium.launch(
                executable_path=CHROMIUM, args=[*ARGUMENTS, card], env={**os.environ, "TZ": ZONE}
            )
            yield browser
            await browser.close()
            return
        with a_display() as display:
            browser = await browsers.firefox.launch(
                channel="moz-firefox",
                executable_path=FIREFOX,
                headless=False,
                env={**os.environ, "DISPLAY": display, "TZ": ZONE},
            )
            yield browser
            await browser.close()


@contextmanager
def a_display() -> Iterator[str]:
    """Start an X server without a screen, and yield its name (`:99`)."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["/usr/bin/Xvfb", "-displayfd", str(writing), "-screen", "0", "1920x1200x24"],
        pass_fds=(writing,),
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="ascii") as told:
            yield f":{told.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


@asynccontextmanager
async def walking(browser: Browser, api: Api, scheme: str = "light") -> AsyncIterator[Walk]:
    """Open a browser of somebody's own; what leaves the origin, and every fault, is kept."""
    context = await browser.new_context(
        viewport=SIZE, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    walk = Walk(api, page)
    page.on("request", walk._asked)
    page.on("pageerror", lambda error: walk.faults.append(str(error)))
    page.on("dialog", lambda dialog: walk.faults.append(f"a script says {dialog.message}"))
    page.on(
        "console",
        lambda said: walk.faults.append(said.text) if "Content Security" in said.text else None,
    )
    try:
        yield walk
    finally:
        await context.close()
    assert walk.strangers == []
    assert walk.faults == [], "\n".join(walk.faults)


async def a_house(api: Api, first: str = HOSTILE, described: str = MARKUP) -> list[str]:
    """Fill the index and the accounts; return the StudyInstanceUIDs.

    Args:
        api: that runs.
        first: the name of the patient of the first study.
        described: what that study and its series are described by.
    """
    studies, images = [], list[Dataset]()
    names = ("Okafor^Adaeze", "Müller^Jörg", "Tanaka^Yui", "Silva^Ana Maria", "Novak^Petr")
    for number, name in enumerate((first, *names, *names, *names, *names, *names)):
        study, series = new_uid(), new_uid()
        images += [
            a_data_set(
                SpecificCharacterSet="ISO_IR 192",
                StudyInstanceUID=study,
                SeriesInstanceUID=series,
                PatientName=name,
                PatientID=f"P{1000 + number}",
                PatientBirthDate="19710412",
                AccessionNumber=f"A{2000 + number}",
                StudyDescription=described
                if not number
                else "CT head"
                if number % 2
                else "MR head",
                SeriesDescription="axial 1 mm" if number else described,
                Modality="CT" if number % 2 else "MR",
                StudyDate=f"202611{1 + number % 27:02}",
                StudyTime="093000",
                InstanceNumber=image + 1,
                Rows=_SIDE,
                Columns=_SIDE,
                PixelData=_head(image),
            )
            for image in range(3)
        ]
        studies.append(study)
    await api.seed.add(*images)
    for role in ("technician", "radiologist", "viewer", "medical_admin"):
        await add_user(api, role, role)
    return studies


@cache
def _head(number: int) -> bytes:
    """Return the grey levels of a slice of the head phantom."""
    image = shepp_logan(_SIDE, 1 - number / 12)
    return bytes(np.interp(image, [-1, 0, 0.4, 1], [0, 20, 200, 255]).astype(np.uint8))


@cache
def axe() -> str:
    """The source of axe-core, fetched at set-up."""
    root = Path(__file__).parents[3]
    return gzip.decompress((root / ".tools/axe/axe.min.js.gz").read_bytes()).decode()


async def serious(page: Page, within: str | None = None, only: tuple[str, ...] = ()) -> list[str]:
    """Return what axe-core finds serious or critical on a page, or within an element of it.

    What it would load of its own accord (`preload`) is for rules of media, and of turned screens.

    Args:
        page: that is open.
        within: a CSS selector.
        only: rules; without them all.
    """
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(axe())
    found = await page.evaluate(
        """([within, only]) => axe.run(within || document, {resultTypes: ['violations'],
             preload: false, ...(only.length ? {runOnly: only} : {})})""",
        [within, list(only)],
    )
    return [
        f"{one['id']}: {node['html'][:160]}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]
