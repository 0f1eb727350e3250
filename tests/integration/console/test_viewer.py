"""The viewer under `/viewer/`: OHIF shows a study of this origin to who is signed in."""

from functools import partial

import pytest
from playwright.async_api import Page, expect

from tests.integration.api.conftest import running_api
from tests.integration.console.conftest import BROWSERS, a_browser, a_house, walking
from tests.support.builders import a_data_set
from tests.support.services import Services
from tests.support.waiting import until

_COLOURS = """(canvas) => {
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [64, 64];
  const drawing = copy.getContext('2d');
  drawing.drawImage(canvas, 0, 0, 64, 64);
  return new Set(drawing.getImageData(0, 0, 64, 64).data).size;
}"""
_OLD = """
for (const name of ['at', 'findLast', 'toSorted', 'toReversed']) {
  delete Array.prototype[name];
  delete Object.getPrototypeOf(Uint8Array.prototype)[name];
}
delete String.prototype.at;
delete Object.hasOwn;
delete window.structuredClone;
delete Crypto.prototype.randomUUID;
"""
"""Takes away what Chrome 90, Firefox 88 and Safari 14 have not: `older.js` has to have it."""
_PIXELS = """(canvas) => {
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [32, 32];
  const drawing = copy.getContext('2d');
  drawing.drawImage(canvas, 0, 0, 32, 32);
  return [...drawing.getImageData(0, 0, 32, 32).data];
}"""
PRIOR = {
    "PatientName": "Okafor^Adaeze",
    "PatientBirthDate": "19710412",
    "StudyDate": "20240229",
    "Modality": "CT",
    "Rows": 8,
    "Columns": 8,
    "PixelData": bytes(64),
}


@pytest.mark.req("API-17")
@pytest.mark.parametrize("with_browser", BROWSERS)
async def test_ohif_shows_a_study(services: Services, with_browser: str) -> None:
    async with running_api(services) as api, a_browser(with_browser, webgl=True) as browser:
        studies = await a_house(api)
        await api.seed.add(a_data_set(PatientID="P1001", StudyDescription="A prior", **PRIOR))
        async with walking(browser, api) as walk:
            if with_browser == "chromium":
                await walk.page.add_init_script(_OLD)
            await walk.sign_in("radiologist")
            await walk.open(f"/study/{studies[1]}")
            link = walk.page.get_by_role("link", name="Open in the viewer")
            address = await link.get_attribute("href")
            await walk.open(str(address))
            await expect(walk.page.locator("canvas").first).to_be_visible(timeout=60_000)
            await until(lambda: is_drawn(walk.page), "the image is drawn", limit=60)
            await walk.picture("viewer")
            await _is_read(walk.page, thoroughly=with_browser == "chromium")
            await walk.page.get_by_role("link", name="Print").click()
            await walk.page.wait_for_url(f"**/film?study={studies[1]}")
            await expect(walk.page.get_by_role("heading", name="Print on film")).to_be_visible()


async def _is_read(page: Page, *, thoroughly: bool) -> None:
    """Scroll, window and zoom; what else there is of the patient is beside."""
    canvas = page.locator("canvas").first
    await expect(page.get_by_text("A prior").first).to_be_visible()
    await canvas.hover()
    await page.mouse.wheel(0, 120)
    await expect(page.get_by_text("2 (2/3)")).to_be_visible()
    if not thoroughly:
        return
    before = await canvas.evaluate(_PIXELS)
    box = await canvas.bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for button in ("left", "right"):  # what they do in OHIF: window, and zoom
        await page.mouse.move(*middle)
        await page.mouse.down(button=button)
        await page.mouse.move(middle[0] + 60, middle[1] + 80, steps=4)
        await page.mouse.up(button=button)
        await until(partial(_differs, page, before), f"{button} changes the image", limit=60)
        before = await canvas.evaluate(_PIXELS)


async def _differs(page: Page, before: list[int]) -> bool:
    return bool(await page.locator("canvas").first.evaluate(_PIXELS) != before)


async def is_drawn(page: Page) -> bool:
    """Tell whether the viewport shows more than one grey."""
    return int(await page.locator("canvas").first.evaluate(_COLOURS)) > 10
