"""The viewer shows images as presentation states want them seen: the same picture as ours."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from playwright.async_api import expect
from pydicom import dcmread
from pydicom.dataset import Dataset

from darkroom_api.objects.exchange import Kind, MakeTask, Reference
from darkroom_api.objects.identity import said
from darkroom_api.objects.making import make
from darkroom_api.rendering.appearance import PNG, Appearance
from darkroom_api.rendering.drawing import draw
from darkroom_api.rendering.exchange import Picture
from darkroom_common.dicom.stored import stored_file
from tests.integration.api.accounts.people import add_user
from tests.integration.api.conftest import running_api
from tests.integration.console.conftest import a_browser, walking
from tests.support.builders import CT, a_data_set
from tests.support.services import Services
from tests.support.stow import a_file
from tests.unit.api.making.kinds import STUDY

ROWS, COLUMNS = 40, 30
WINDOW = {"center": -300, "width": 1400}
SAMPLES = """(swapped) => {
  const shown = window.darkroomShown, data = shown.getImageData().imageData;
  const [columns, rows] = data.getDimensions();
  const at = (x, y) => shown.worldToCanvas(data.indexToWorld([x - 0.5, y - 0.5, 0]));
  const [a, b] = [at(0, 0), at(columns, rows)];
  const left = Math.min(a[0], b[0]), top = Math.min(a[1], b[1]);
  const [wide, high] = [Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
  const [across, down] = swapped ? [rows, columns] : [columns, rows];
  const canvas = shown.canvas;
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return Array.from({length: down}, (_, y) => Array.from({length: across}, (_, x) => pixels[
    4 * (canvas.width * Math.floor(top + (y + 0.5) * high / down)
      + Math.floor(left + (x + 0.5) * wide / across))]));
}"""
"""What the canvas shows in the middle of each pixel of the image, as it stands there."""
PLAINLY = """() => new Promise((done) => {
  const shown = window.darkroomShown;
  shown.element.addEventListener('CORNERSTONE_IMAGE_RENDERED', () => done(1), {once: true});
  shown.setProperties({interpolationType: 0});
  shown.render();
})"""
"""Pixels are squares, and nothing between them."""


def an_image() -> Dataset:
    image = a_data_set(
        Rows=ROWS, Columns=COLUMNS, BitsAllocated=16, BitsStored=12, HighBit=11, PatientID="STATE"
    )
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "-1024", "1", "HU"
    values = np.arange(ROWS * COLUMNS, dtype="<u2") * 2
    image.PixelData = values.tobytes()
    return image


def a_state(image: Dataset, uid: str, **values: Any) -> bytes:
    """A state of an image, as the route and a worker make it."""
    one = Reference(
        CT,
        str(image.SOPInstanceUID),
        str(image.SeriesInstanceUID),
        ROWS,
        COLUMNS,
        1,
        rescale=(1.0, -1024.0, "HU"),
    )
    asked = {"study": "A1", "images": [one.sop_instance_uid], **values}
    own = {
        "StudyInstanceUID": str(image.StudyInstanceUID),
        "SeriesInstanceUID": f"{uid}.1",
        "SOPInstanceUID": uid,
        "Modality": "PR",
    }
    return make(MakeTask(Kind.PRESENTATION_STATE, said({**STUDY, **own}), 0, asked, (one,)), b"")


def ours(image: Dataset, state: bytes) -> Any:
    """The image by our own renderer."""
    with (
        stored_file(io.BytesIO(a_file(image))) as (stored, _),
        stored_file(io.BytesIO(state)) as (shown_by, _),
    ):
        made = draw(stored, Picture((0,), PNG, Appearance()), shown_by)
    return np.asarray(Pillow.open(io.BytesIO(made))).astype(int)


@pytest.mark.timeout(400)
async def test_states_are_shown_as_our_renderer_shows_them(services: Services) -> None:
    image = an_image()
    states = {}
    for number in range(8):
        uid = f"{image.StudyInstanceUID}.{number + 1}"[:60]
        states[uid] = a_state(
            image,
            uid,
            rotation=90 * (number % 4),
            flipped=number > 3,
            inverted=bool(number % 2),
            label=f"STATE {number}",
            **({} if number == 5 else {"window": WINDOW}),
        )
    async with running_api(services) as api, a_browser(webgl=True) as browser:
        await api.seed.add(image)
        for file in states.values():
            await api.seed.add(dcmread(io.BytesIO(file)))
        await add_user(api, "radiologist", "radiologist")
        async with walking(browser, api) as walk:
            await walk.sign_in("radiologist")
            first = next(iter(states))
            there = f"/viewer/viewer?StudyInstanceUIDs={image.StudyInstanceUID}&state={first}"
            await walk.open(there)
            choice = walk.page.get_by_label("Presentation state")
            for number, (uid, file) in enumerate(states.items()):
                if number:
                    await choice.select_option(uid)
                shown = walk.page.locator(f'[data-state="{uid}"]')
                await expect(shown).to_be_attached(timeout=60_000)
                await walk.page.evaluate(PLAINLY)
                wanted = ours(image, file)
                found = np.asarray(await walk.page.evaluate(SAMPLES, bool(number % 2)))
                assert found.shape == wanted.shape, number
                assert len(np.unique(wanted)) > 100
                difference = int(np.abs(found - wanted).max())
                assert difference <= 2, (number, difference)  # 1 was measured
            await choice.select_option("")
            await expect(walk.page.locator(".darkroom-state")).to_have_count(0)
