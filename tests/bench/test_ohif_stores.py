"""What OHIF draws is stored by STOW-RS, found by QIDO-RS, and shown by OHIF again.

It needs what `test_ohif.py` needs.
"""

import asyncio
import importlib
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from darkroom_local.engines.ports import free_port
from tests.bench.test_ohif import (
    ARGUMENTS,
    CHROMIUM,
    DIST,
    PICTURES,
    UNDISTURBED,
    a_volume,
    lit,
    viewer,
)
from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.storing.stowing import Stowing, stowing
from tests.support import waiting
from tests.support.stow import a_file

pytestmark = pytest.mark.skipif(not DIST, reason="needs OHIF: OHIF_DIST")
WIDTH, HEIGHT = 1280, 800
BALL = (765, 422)
"""Where the middle of the image is, in the viewer."""
PAINTED = (642, 422)
"""The same in the mode of segmentations."""
TRIES = 3


@pytest.fixture
async def house(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> AsyncIterator[tuple[Stowing, int]]:
    port = free_port()
    async with stowing(
        postgres_server,
        rabbitmq_server,
        CORS_ORIGINS=json.dumps([f"http://127.0.0.1:{port}"]),
        DEVELOPMENT="true",
        FF_AUTH_ENABLED="false",
    ) as made:
        yield made, port


class Reader:
    """Somebody who looks at one study in OHIF, and draws on it."""

    def __init__(self, page: Any, url: str, study: str) -> None:
        self.page = page
        self._there = f"StudyInstanceUIDs={study}"
        self._url = url

    def look(self, mode: str = "viewer") -> None:
        """Open the study and wait for its image."""
        self.page.goto(f"{self._url}/{mode}?{self._there}")
        for _ in range(300):
            if lit(self.page.screenshot()) > 0.01:
                break
            self.page.wait_for_timeout(200)
        self.page.wait_for_timeout(3000)

    def drag(self, middle: tuple[int, int]) -> None:
        """Draw across the image."""
        x, y = middle
        self.page.mouse.move(x - 40, y - 20)
        self.page.mouse.down()
        self.page.mouse.move(x, y, steps=5)
        self.page.mouse.move(x + 40, y + 10, steps=5)
        self.page.mouse.up()
        self.page.wait_for_timeout(1500)

    def click(self, name: str) -> None:
        """Press what OHIF's own tests know by a name."""
        self.page.locator(f'[data-cy="{name}"]').first.click()
        self.page.wait_for_timeout(1500)

    def save(self, name: str) -> int:
        """Store under the name of a series; return the status of STOW-RS."""
        self.page.locator("[role=dialog] input").first.fill(name)
        with self.page.expect_response(
            lambda one: one.request.method == "POST" and one.url.endswith("/studies")
        ) as answer:
            self.page.locator("[role=dialog] button").get_by_text("Save").last.click()
        return int(answer.value.status)

    def export(self, kind: str) -> None:
        """Ask for the segmentation as an object of a kind, again when its menu closes."""
        asked = self.page.locator("[role=dialog] input").first
        for _ in range(TRIES):
            self.click("segmentation-collapsed-more-btn-Labelmap")
            self.page.get_by_text("Export", exact=True).first.hover()
            self.page.wait_for_timeout(800)
            self.page.keyboard.press("ArrowRight")
            self.page.get_by_text(kind, exact=True).click()
            with suppress(importlib.import_module("playwright.sync_api").TimeoutError):
                asked.wait_for(timeout=20_000)
                return
            self.page.keyboard.press("Escape")
        raise AssertionError(f"OHIF does not ask for the name of a {kind}")

    def shown(self, series: str, picture: str) -> Any:
        """Open the study anew, and a series of it; return the pixels of the screen."""
        self.look()
        self.page.get_by_text(series).first.dblclick()
        self.page.wait_for_timeout(6000)
        taken = self.page.screenshot(path=PICTURES / f"{picture}.png")
        return np.asarray(Image.open(io.BytesIO(taken)).convert("RGB")).astype(int)


def read(url: str, study: str) -> dict[str, int]:
    """Measure, paint, store and look again; return statuses, and how much is coloured."""
    playwright = importlib.import_module("playwright.sync_api")
    PICTURES.mkdir(parents=True, exist_ok=True)
    found = {}
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(60_000)
        page.add_init_script(UNDISTURBED)
        reader = Reader(page, url, study)
        reader.look()
        page.get_by_text("Confirm and hide").click()
        reader.click("Length-btn")
        reader.drag(BALL)
        page.get_by_text("Yes", exact=True).click()
        reader.click("trackedMeasurements-btn")
        page.get_by_text("Create SR").first.click()
        found["SR"] = reader.save("Lengths")
        reader.look("segmentation")
        reader.click("addSegmentation")
        reader.click("Brush-btn")
        reader.drag(PAINTED)
        reader.export("DICOM SEG")
        found["SEG"] = reader.save("Painted")
        reader.export("DICOM RTSS")
        found["RTSTRUCT"] = reader.save("Outlined")
        red, green, blue = np.moveaxis(reader.shown("Lengths", "stored-sr"), -1, 0)
        found["measured"] = int(((green > 150) & (red < 100) & (blue < 100)).sum())
        red, green, blue = np.moveaxis(reader.shown("Painted", "stored-seg"), -1, 0)
        found["painted"] = int(((red > green + 40) & (red > blue + 40)).sum())
        red, green, blue = np.moveaxis(reader.shown("Outlined", "stored-rtss"), -1, 0)
        found["outlined"] = int(((red > green + 40) & (red > blue + 40)).sum())
        browser.close()
    return found


async def in_study(client: httpx.AsyncClient, study: str, modality: str) -> Dataset:
    """Return the one object of a modality of a study."""
    path = f"/dicom-web/studies/{study}/instances"
    said = (await client.get(path, params={"Modality": modality})).json()
    assert len(said) == 1, (modality, said)
    there = said[0]["00081190"]["Value"][0]
    got = await client.get(there, headers={"accept": "application/dicom; transfer-syntax=*"})
    return dcmread(io.BytesIO(got.content))


async def test_what_ohif_draws_is_stored_found_and_shown_again(house: tuple[Stowing, int]) -> None:
    stow, port = house
    volume = a_volume(20)
    study = str(volume[0].StudyInstanceUID)
    assert (await stow.store([a_file(one) for one in volume], study)).status_code == 200
    client = stow.api.client

    async def indexed() -> bool:
        path = f"/dicom-web/studies/{study}/instances"
        return len((await client.get(path)).json()) == len(volume)

    await waiting.until(indexed, "the volume in the index")
    with viewer(port, f"{stow.api.url}/dicom-web") as url:
        found = await asyncio.to_thread(read, url, study)
    assert [found[kind] for kind in ("SR", "SEG", "RTSTRUCT")] == [200] * 3, found
    assert found["measured"] > 40, found
    assert found["painted"] > 2000, found
    assert found["outlined"] > 100, found
    report = await in_study(client, study, "SR")
    assert re.search(r"Numeric Value .*\d", str(report.ContentSequence[-1]))
    painted = await in_study(client, study, "SEG")
    assert painted.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert painted.pixel_array.astype(bool).sum() > 2000
    outlined = await in_study(client, study, "RTSTRUCT")
    assert len(outlined.ROIContourSequence[0].ContourSequence) >= 1
