"""The walk in WebKitGTK, the engine of Safari: every screen, and a study found, opened and sent."""

from functools import partial
from pathlib import Path
from typing import Final

import pytest

from darkroom_api.console.paths import SCREENS
from tests.integration.api.accounts.people import PASSWORD
from tests.integration.api.conftest import running_api
from tests.integration.console.conftest import a_display, a_house, axe
from tests.integration.console.desk import PARTS
from tests.integration.console.webkit import WebKit, webkit
from tests.support.services import Services
from tests.support.waiting import until

_FAULTS: Final = """
const done = arguments[0];
axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations
  .filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => one.id)));
"""
_WIDER: Final = "return document.documentElement.scrollWidth - innerWidth"
_PACS: Final = {"name": "main-pacs", "host": "127.0.0.1", "port": 1, "ae_title": "PACS"}
_CANVAS: Final = "document.querySelector('.cornerstone-canvas, .viewport-element canvas')"
_DRAWN: Final = f"""(() => {{
  const drawn = {_CANVAS};
  if (!drawn || !drawn.width) return false;
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [64, 64];
  copy.getContext('2d').drawImage(drawn, 0, 0, 64, 64);
  return new Set(copy.getContext('2d').getImageData(0, 0, 64, 64).data).size > 10;
}})()"""


@pytest.mark.timeout(500)
async def test_every_screen_and_a_way_in_webkit(services: Services, tmp_path: Path) -> None:
    async with running_api(services) as api:
        studies = await a_house(api)
        await services.start("transmit")
        made = await api.client.post("/api/v1/destinations", json=_PACS)
        assert made.status_code == 201, made.text
        with a_display() as display:
            async with webkit(display, tmp_path, api.url) as browser:
                await browser.open("/")
                await browser.write("[name=username]", "medical_admin")
                await browser.write("[name=password]", PASSWORD)
                await browser.press("Enter")
                await browser.wait("location.pathname === '/worklist'", "somebody is signed in")
                await _screens(browser, studies[1])
                await _a_way(browser)
                await browser.open(f"/viewer/viewer?StudyInstanceUIDs={studies[1]}")
                await browser.wait(_DRAWN, "the viewer draws the image")


async def _screens(browser: WebKit, study: str) -> None:
    """Open every screen that has an address without what is made by others."""
    for method, path in SCREENS:
        if method != "GET" or path in PARTS:
            continue
        shown = path.replace("{study}", study)
        if "{" in shown:
            continue
        await until(partial(_opened, browser, shown), shown, limit=60)
        assert await browser.run(_WIDER) <= 0, shown
        await browser.run(f"{axe()}; window.axe = axe;")
        assert await browser.told(_FAULTS) == [], shown


async def _opened(browser: WebKit, path: str) -> bool:
    """Tell whether a page is there, and does not say why it is not."""
    await browser.open(path)
    await browser.wait("document.querySelector('h1')", path)
    return bool(await browser.run("return document.querySelector('.empty.big') === null"))


async def _a_way(browser: WebKit) -> None:
    """Find a study, open it and send it: by keys, and by a dialog."""
    await browser.open("/worklist")
    await browser.wait("document.documentElement.dataset.listening", "events are listened to")
    await browser.press("/")
    await browser.press(*"silva")
    await browser.wait("document.body.innerText.includes('5 in all')", "five are found")
    await browser.press("ArrowDown", "Enter")
    await browser.wait("location.pathname.startsWith('/study/')", "the study is open")
    await browser.click("[data-opens=to-send]")
    await browser.wait("document.getElementById('to-send').open", "the dialog is open")
    await browser.write("#to-send select", "main-pacs")
    await browser.click("#to-send button.main")
    said = "document.getElementById('said').innerText.includes('1 study on the way')"
    await browser.wait(said, "it is sent")
