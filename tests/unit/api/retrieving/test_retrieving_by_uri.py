"""WADO-URI (PS3.18 section 9): every parameter, media type and status."""

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset

from tests.support.builders import a_data_set
from tests.support.shelf import EXPLICIT, Shelf, url_of

STATE = "1.2.840.10008.5.1.4.1.1.11.1"


def an_image(**changes: Any) -> Dataset:
    """Return a ramp of 20 rows by 40 columns: column n has the value 6 n."""
    ramp = np.tile(np.arange(40, dtype="u1") * 6, (20, 1))
    return a_data_set(**{"Rows": 20, "Columns": 40, "PixelData": ramp.tobytes(), **changes})


def a_state(image: Dataset, **changes: Any) -> Dataset:
    """Return a presentation state that turns an image by 90 degrees and inverts it."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    series = Dataset()
    series.SeriesInstanceUID = image.SeriesInstanceUID
    series.ReferencedImageSequence = [reference]
    state = Dataset()
    made = a_data_set(SOPClassUID=STATE, StudyInstanceUID=image.StudyInstanceUID)
    kept = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
    for keyword in kept:
        setattr(state, keyword, made.get(keyword))
    state.ReferencedSeriesSequence = [series]
    state.ImageRotation = 90
    state.PresentationLUTShape = "INVERSE"
    for keyword, value in changes.items():
        setattr(state, keyword, value)
    return state


def asked(image: Dataset, **more: str) -> dict[str, str]:
    return {
        "requestType": "WADO",
        "studyUID": str(image.StudyInstanceUID),
        "seriesUID": str(image.SeriesInstanceUID),
        "objectUID": str(image.SOPInstanceUID),
        **more,
    }


def pixels(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return np.asarray(Pillow.open(io.BytesIO(answer.content))).astype(int)


async def ask(shelf: Shelf, image: Dataset, **more: str) -> httpx.Response:
    return await shelf.client.get("/dicom-web/wado", params=asked(image, **more))


@pytest.mark.req("API-11")
async def test_objects_and_images(shelf: Shelf) -> None:
    image, several = an_image(), an_image(NumberOfFrames=2)
    several.PixelData = bytes([10]) * 800 + bytes([200]) * 800
    report = a_data_set()
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated"):
        delattr(report, keyword)
    stored = [shelf.add(one) for one in (image, several, report)]
    assert (await ask(shelf, image)).headers["content-type"] == "image/jpeg"
    for data_set, whole in ((several, stored[1]), (report, stored[2])):
        assert (await ask(shelf, data_set)).content == whole
    answer = await ask(shelf, image, contentType="application/dicom", transferSyntax=EXPLICIT)
    assert answer.content == stored[0]
    assert (await ask(shelf, report, contentType="image/png")).status_code == 406
    png = {"contentType": "image/png"}
    shown = pixels(await ask(shelf, image, **png))
    assert shown.shape == (20, 40)
    assert list(shown[0][:3]) == [0, 6, 12]
    assert pixels(await ask(shelf, several, **png, frameNumber="2")).min() == 200
    assert pixels(await ask(shelf, image, **png, rows="10")).shape == (10, 20)
    assert pixels(await ask(shelf, image, **png, columns="80", rows="80")).shape == (40, 80)
    region = pixels(await ask(shelf, image, **png, region="0.5,0,1,1"))
    assert region.shape == (20, 20)
    assert region[0][0] == 120
    window = pixels(await ask(shelf, image, **png, windowCenter="120", windowWidth="2"))
    assert set(window[0]) == {0, 255}
    noted = pixels(await ask(shelf, image, **png, annotation="patient"))
    assert (noted != shown).any()
    known = {"if-none-match": (await ask(shelf, image)).headers["etag"]}
    again = await shelf.client.get("/dicom-web/wado", params=asked(image), headers=known)
    assert again.status_code == 304


REFUSED: list[tuple[dict[str, str], int, str | None]] = [
    ({"requestType": "GET"}, 400, "requestType"),
    ({"objectUID": ""}, 400, "objectUID"),
    ({"objectUID": "1.2.3"}, 404, None),
    ({"objectUID": "1" * 99}, 404, None),
    ({"contentType": "text/html"}, 406, None),
    ({"contentType": "application/dicom", "transferSyntax": "1.2.3"}, 406, None),
    ({"contentType": "application/dicom", "anonymize": "yes"}, 400, "anonymize"),
    ({"contentType": "application/dicom", "rows": "10"}, 400, "rows"),
    ({"transferSyntax": EXPLICIT}, 400, "transferSyntax"),
    ({"rows": "0"}, 400, "rows"),
    ({"columns": "ten"}, 400, "columns"),
    ({"frameNumber": "0"}, 400, "frameNumber"),
    ({"frameNumber": "2"}, 404, None),
    ({"region": "0,0,1"}, 400, "region"),
    ({"region": "1,0,0,1"}, 400, "region"),
    ({"region": "0,0,1,1.5"}, 400, "region"),
    ({"region": "a,0,1,1"}, 400, "region"),
    ({"windowCenter": "1"}, 400, "windowCenter"),
    ({"windowCenter": "1", "windowWidth": "0"}, 400, "windowCenter"),
    ({"imageQuality": "101"}, 400, "imageQuality"),
    ({"annotation": "nurse"}, 400, "annotation"),
    ({"presentationUID": "1.2.3"}, 400, "presentationSeriesUID"),
    ({"presentationUID": "1.2.3", "presentationSeriesUID": "1.2"}, 404, None),
    (
        {"presentationUID": "1.2", "presentationSeriesUID": "1", "windowCenter": "1"},
        400,
        "windowCenter",
    ),
]


async def test_what_is_refused(shelf: Shelf) -> None:
    image = an_image()
    shelf.add(image)
    for more, status, name in REFUSED:
        answer = await ask(shelf, image, **more)
        assert answer.status_code == status, (more, answer.text)
        if name is not None:
            assert [one["field"] for one in answer.json()["errors"]] == [name], more


async def test_a_parameter_stands_once(shelf: Shelf) -> None:
    image = an_image()
    shelf.add(image)
    twice = httpx.QueryParams(asked(image)).add("rows", "1").add("rows", "2")
    answer = await shelf.client.get("/dicom-web/wado", params=twice)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "rows")


async def test_presentation_states_shape_images(shelf: Shelf) -> None:
    image = an_image()
    other = an_image(StudyInstanceUID=image.StudyInstanceUID)
    state = a_state(image)
    for one in (image, other, state):
        shelf.add(one)
    png = {"contentType": "image/png"}
    by_state = {
        "presentationUID": str(state.SOPInstanceUID),
        "presentationSeriesUID": str(state.SeriesInstanceUID),
    }
    turned = pixels(await ask(shelf, image, **png, **by_state))
    plain = pixels(await ask(shelf, image, **png))
    assert (turned == np.rot90(255 - plain, -1)).all()
    refused = await ask(shelf, other, **png, **by_state)
    assert refused.status_code == 406  # it is a state of another image
    url = f"{url_of(state)}/rendered"
    rendered = await shelf.client.get(url, headers={"accept": "image/png"})
    assert (pixels(rendered) == turned).all()
    for query, status in (("?window=1,2", 400), ("?viewport=10,40", 200)):
        answer = await shelf.client.get(url + query, headers={"accept": "image/png"})
        assert answer.status_code == status
    assert pixels(answer).shape == (20, 10)
    alone = a_state(other)
    alone.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2"
    shelf.add(alone)
    assert (await shelf.client.get(f"{url_of(alone)}/rendered")).status_code == 406
