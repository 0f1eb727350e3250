"""What a reader waits for in the viewer that the console has under `/viewer/` (P14).

From the click on `Open in the viewer` of a study of a CT of 500 until its image is drawn, by
Debian's Chromium without a graphics processor: as somebody does for the first time, and as
somebody who has looked at another study before.
"""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Page, async_playwright, expect

from darkroom_common.clock import monotonic
from tests.bench import report
from tests.bench.report import QUICK, Table
from tests.bench.test_ohif import CHROMIUM, a_volume
from tests.integration.api.conftest import running_api
from tests.integration.console.conftest import ARGUMENTS, SIZE, Walk
from tests.support.services import Services

POLL: Final = 50
"""Milliseconds between looks at the canvas: each look takes it out of the card, and time."""
SLICES: Final = 50 if QUICK else 500
ROUNDS: Final = 2 if QUICK else 5
REQUESTS: Final = """() => performance.getEntriesByType('resource').map((one) => [
  new URL(one.name).pathname, one.startTime / 1000, one.responseEnd / 1000])"""
BUFFER: Final = "performance.setResourceTimingBufferSize(5000)"
DRAWN: Final = """() => {
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [64, 64];
  const drawing = copy.getContext('2d');
  return [...document.querySelectorAll('canvas')].some((one) => {
    if (!one.width) return false;
    drawing.drawImage(one, 0, 0, 64, 64);
    return new Set(drawing.getImageData(0, 0, 64, 64).data).size > 6;
  });
}"""
NOTE: Final = (
    "OHIF under `/viewer/` of the console, Debian's Chromium, software rendering. `first`: the"
    " first study that a browser ever opens; `later`: others after it, each a page of its own."
)


@pytest.fixture
async def services(tmp_path: Path, superuser_url: str, amqp_url: str) -> AsyncIterator[Services]:
    made = Services(tmp_path, superuser_url, amqp_url)
    yield made
    await made.stop()


async def click(page: Page, study: str) -> tuple[float, list[Any]]:
    """Open a study in the viewer from its page; return the seconds until it is drawn."""
    await page.goto(study)
    link = page.get_by_role("link", name="Open in the viewer")
    await expect(link).to_be_visible()
    began = monotonic()
    await link.click(no_wait_after=True)
    await page.wait_for_url("**/viewer/**", wait_until="commit")
    await page.wait_for_function(DRAWN, polling=POLL, timeout=60_000)
    return monotonic() - began, await page.evaluate(REQUESTS)


@pytest.mark.timeout(400)
async def test_click_to_first_image(services: Services) -> None:
    table = Table("Click to first image", "s")
    async with running_api(services) as api:
        volumes = [a_volume(SLICES) for _ in range(3)]
        for volume in volumes:
            await api.seed.add(*volume)
        studies = [f"{api.url}/study/{volume[0].StudyInstanceUID}" for volume in volumes]
        with tempfile.TemporaryDirectory() as profile:
            async with async_playwright() as browsers:
                context = await browsers.chromium.launch_persistent_context(
                    profile,
                    executable_path=CHROMIUM,
                    args=[*ARGUMENTS, "--use-angle=swiftshader"],
                    viewport=SIZE,
                )
                page = await context.new_page()
                await page.add_init_script(BUFFER)
                await Walk(api, page).sign_in("admin", services.admin_password)
                for number in range(2 + ROUNDS):
                    which = "later" if number else "first"
                    took, requests = await click(page, studies[number % len(studies)])
                    own = [one for one in requests if one[0].startswith("/dicom-web/")]
                    frames = [end for name, _, end in own if "/frames/" in name and end]
                    table.add(f"a CT of {SLICES} is drawn", which, took)
                    table.add("its first frame is there", which, min(frames))
                    table.add("DICOMweb is asked first", which, own[0][1])
                await context.close()
    report.write("The viewer of the console", NOTE, [table])
