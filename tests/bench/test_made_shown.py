"""Pictures of what a viewer shows of each kind of object that is made here (docs/objects.md).

Made by the routes, stored by ingest, shown by OHIF under `/viewer/`. Pictures go to
`OBJECT_PICTURES`.
"""

import io
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from playwright.async_api import Page, expect
from pydicom.data import get_testdata_file

from tests.bench.test_ohif import lit
from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.storing.making import a_study, post, put
from tests.integration.api.storing.stowing import Stowing, stowing
from tests.integration.console.conftest import COLOURS, a_browser, walking
from tests.support.uploads import a_pdf
from tests.support.waiting import until

PICTURES: Final = Path(os.environ.get("OBJECT_PICTURES", tempfile.gettempdir()))
RADIOGRAPH: Final = "RG1_UNCR.dcm"
CHOSEN: Final = os.environ.get(
    "OBJECT_KINDS", "dx cr secondary-capture pdf presentation-state text-report"
).split()
"""Dose reports OHIF lists, and does not show; key objects were not looked at."""
LEAST: Final = 0.005
"""Of the middle of the page that has to be bright."""
WORDS: Final = {"text": "Look here", "at": [150, 60]}


@pytest.fixture
async def stow(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> AsyncIterator[Stowing]:
    async with stowing(postgres_server, rabbitmq_server) as made:
        yield made


def radiograph() -> bytes:
    """A public radiograph as a PNG of 16 bits, a quarter as large."""
    found = pydicom.dcmread(str(get_testdata_file(RADIOGRAPH)))
    pixels = found.pixel_array[::4, ::4].astype(np.uint16)
    if found.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.max() - pixels
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def photograph() -> bytes:
    """A picture in colour."""
    y, x = np.mgrid[:480, :640]
    pixels = np.stack([x * 255 // 640, y * 255 // 480, 128 + 0 * x], -1).astype(np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


async def studies(stow: Stowing) -> dict[str, tuple[str, str]]:
    """Make an object of each kind, in a study of its own; return the study, and what is asked."""
    found: dict[str, tuple[str, str]] = {}
    gray: dict[str, Any] = {"body_part": "CHEST", "view_position": "PA", "bits_stored": 16}
    place = {"patient_orientation": ["L", "F"], "imager_pixel_spacing": [0.556, 0.556]}

    async def of(kind: str) -> str:
        number = f"ACC-{kind}"[:16]
        await a_study(stow, AccessionNumber=number, PatientID=kind, Modality="OT")
        return number

    for kind, values, body in (
        ("dx", {**gray, **place}, radiograph()),
        ("cr", gray, radiograph()),
        ("secondary-capture", {"modality": "XC", "series_description": "Wound"}, photograph()),
        ("pdf", {"title": "Findings"}, a_pdf(pages=1)),
    ):
        answer = await post(stow, kind, {"study": await of(kind), **values}, body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        found[kind] = made["study_instance_uid"], made["series_instance_uid"]
    image = (
        await post(stow, "dx", {"study": await of("state"), **gray, **place}, radiograph())
    ).json()
    uid = image["sop_instance_uid"]
    circle = {"kind": "CIRCLE", "points": [[220, 120], [270, 120]]}
    shown = {
        "study": "ACC-state",
        "images": [uid],
        "inverted": True,
        "label": "MARKED",
        "area": {"left": 60, "right": 400, "upper": 20, "lower": 360},
        "shutter": {"left": 80, "right": 380, "upper": 40, "lower": 340},
        "annotations": [WORDS, {"drawing": circle}],
    }
    state = await put(stow, "presentation-state", shown)
    found["presentation-state"] = image["study_instance_uid"], state["sop_instance_uid"]
    sections = [
        {
            "heading": "findings",
            "text": "A nodule of 8 mm in the left upper lobe.",
            "images": [uid],
        },
        {"heading": "impressions", "text": "Benign."},
    ]
    report = {"study": "ACC-state", "sections": sections, "author": "Okafor^Adaeze"}
    made = await put(stow, "text-report", report)
    found["text-report"] = made["study_instance_uid"], made["series_instance_uid"]
    return {kind: one for kind, one in found.items() if kind in CHOSEN}


async def keep(page: Page, name: str) -> bytes:
    """Keep a picture of the page; return it."""
    taken = await page.screenshot(timeout=60_000)
    few = Pillow.open(io.BytesIO(taken)).convert("RGB").quantize(COLOURS, dither=0)  # type: ignore[arg-type]
    few.save(PICTURES / f"{name}.png", optimize=True)
    return taken


@pytest.mark.timeout(480)
async def test_each_kind_is_shown_by_ohif(stow: Stowing) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    made = await studies(stow)
    dark = []
    async with a_browser(webgl=True) as browser, walking(browser, stow.api) as walk:
        await walk.sign_in("admin", stow.services.admin_password)
        for kind, (study, what) in made.items():
            there = f"/viewer/viewer?StudyInstanceUIDs={study}"
            if kind == "presentation-state":
                await walk.open(f"{there}&state={what}")
                await expect(walk.page.locator(f'[data-state="{what}"]')).to_be_attached()
            elif kind == "text-report":
                await walk.open(there)
                await walk.page.get_by_text("SR", exact=True).last.dblclick()
                await expect(walk.page.get_by_text("A nodule of 8 mm").first).to_be_visible()
            else:
                await walk.open(f"{there}&initialSeriesInstanceUID={what}")

            async def is_lit() -> bool:
                return lit(await walk.page.screenshot(timeout=60_000)) >= LEAST

            try:
                await until(is_lit, f"{kind} is shown", limit=60)
            except AssertionError:
                dark.append(kind)
            await walk.page.wait_for_timeout(3000)
            await keep(walk.page, kind)
    assert not dark, dark
