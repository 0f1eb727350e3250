"""The viewer under `/viewer/`: OHIF shows a study of this origin to who is signed in."""

import pytest
from playwright.async_api import Page, expect

from tests.integration.api.conftest import running_api
from tests.integration.console.conftest import BROWSERS, a_browser, a_house, walking
from tests.support.services import Services
from tests.support.waiting import until

_COLOURS = """(canvas) => {
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [64, 64];
  const drawing = copy.getContext('2d');
  drawing.drawImage(canvas, 0, 0, 64, 64);
  return new Set(drawing.getImageData(0, 0, 64, 64).data).size;
}"""


@pytest.mark.parametrize("with_browser", BROWSERS)
async def test_ohif_shows_a_study(services: Services, with_browser: str) -> None:
    async with running_api(services) as api, a_browser(with_browser, webgl=True) as browser:
        studies = await a_house(api)
        async with walking(browser, api) as walk:
            await walk.sign_in("radiologist")
            await walk.open(f"/study/{studies[1]}")
            link = walk.page.get_by_role("link", name="Open in the viewer")
            address = await link.get_attribute("href")
            await walk.open(str(address))
            await expect(walk.page.locator("canvas").first).to_be_visible(timeout=60_000)
            await until(lambda: is_drawn(walk.page), "the image is drawn", limit=60)
            await walk.picture("viewer")
            await walk.page.get_by_role("link", name="Print").click()
            await walk.page.wait_for_url(f"**/film?study={studies[1]}")
            await expect(walk.page.get_by_role("heading", name="Print on film")).to_be_visible()


async def is_drawn(page: Page) -> bool:
    """Tell whether the viewport shows more than one grey."""
    return int(await page.locator("canvas").first.evaluate(_COLOURS)) > 10
