"""Rendered images and thumbnails, as a viewer asks for them (PS3.18 10.4.1.1.3)."""

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, new_uid

NOISE = np.random.default_rng(5)
SLOPE = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}


def url_of(one: Dataset, level: str = "instance") -> str:
    url = f"/dicom-web/studies/{one.StudyInstanceUID}"
    if level != "study":
        url += f"/series/{one.SeriesInstanceUID}"
    if level == "instance":
        url += f"/instances/{one.SOPInstanceUID}"
    return url


def a_ct(frames: int = 1, rows: int = 40, columns: int = 60, **more: Any) -> Dataset:
    values = NOISE.integers(0, 4096, (frames, rows, columns)).astype("<u2")
    return a_data_set(
        Rows=rows,
        Columns=columns,
        NumberOfFrames=frames,
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelData=values.tobytes(),
        **(SLOPE | more),
    )


def values_of(one: Dataset, frame: int = 0) -> Any:
    shape = (int(one.NumberOfFrames or 1), one.Rows, one.Columns)
    return np.frombuffer(one.PixelData, "<u2").reshape(shape)[frame].astype(np.float64)


def linear(values: Any, center: float, width: float) -> Any:
    """C.11.2.1.2.1, in 8 bits."""
    shown = (values - 1024 - (center - 0.5)) / (width - 1) + 0.5
    return np.rint(np.clip(shown, 0, 1) * 255)


def picture(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return np.asarray(Pillow.open(io.BytesIO(answer.content))).astype(np.float64)


def images(answer: httpx.Response) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    boundary = answer.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    pieces = answer.content.split(b"--" + boundary)[1:-1]
    return [one.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for one in pieces]


PNG = {"accept": "image/png"}


@pytest.mark.req("API-11")
async def test_windows_and_viewports_are_as_asked(api: Api) -> None:
    one = a_ct(frames=3)
    await api.seed.add(one)
    url = url_of(one) + "/rendered"
    plain = picture(await api.client.get(url, headers=PNG))
    assert np.abs(plain - linear(values_of(one), 40, 400)).max() <= 1
    asked = await api.client.get(f"{url}?window=100,1000,linear", headers=PNG)
    assert np.abs(picture(asked) - linear(values_of(one), 100, 1000)).max() <= 1
    exact = await api.client.get(f"{url}?window=100,1000,linear-exact", headers=PNG)
    shown = np.clip((values_of(one) - 1024 - 100) / 1000 + 0.5, 0, 1) * 255
    assert np.abs(picture(exact) - shown).max() <= 1
    soft = await api.client.get(f"{url}?window=100,1000,SIGMOID", headers=PNG)
    shown = 255 / (1 + np.exp(-4 * (values_of(one) - 1024 - 100) / 1000))
    assert np.abs(picture(soft) - shown).max() <= 1
    for viewport, made in (
        ("60,40", plain),
        ("10,20,5,7,10,20", plain[7:27, 5:15]),
        ("60,40,,,-60,", plain[:, ::-1]),
        ("60,40,,,-60,-40", plain[::-1, ::-1]),
        ("60,40,,,60,-40", plain[::-1]),
        ("20,20,50,30,20,20", None),  # cut at the edges of the image
    ):
        answer = await api.client.get(f"{url}?viewport={viewport}", headers=PNG)
        found = picture(answer)
        assert found.shape[0] <= 40 if made is None else np.abs(found - made).max() <= 1, viewport
    for viewport, size in (("30,30", (30, 20)), ("600,100", (150, 100)), ("1,1", (1, 1))):
        found = picture(await api.client.get(f"{url}?viewport={viewport}", headers=PNG))
        assert found.shape == size[::-1], viewport
    second = await api.client.get(f"{url_of(one)}/frames/2/rendered", headers=PNG)
    assert np.abs(picture(second) - linear(values_of(one, 1), 40, 400)).max() <= 1
    over = await api.client.get(f"{url_of(one)}/frames/4/rendered", headers=PNG)
    assert over.status_code == 404


SENSELESS = (
    "window=1",
    "window=a,b,linear",
    "window=1,0,linear",
    "window=1,-5,sigmoid",
    "window=1,2,cubic",
    "window=nan,2,linear",
    "window=1,2,linear,4",
    "window=1,2,linear&window=3,4,linear",
    "viewport=1",
    "viewport=0,5",
    "viewport=-5,5",
    "viewport=1.5,5",
    "viewport=99999999,5",
    "viewport=5,5,0,0,0,5",
    "viewport=5,5,x,0,5,5",
    "viewport=5,5,0,0,5,5,5",
    "quality=0",
    "quality=101",
    "quality=high",
    "annotation=everything",
    "iccprofile=cmyk",
)


async def test_what_makes_no_sense_is_400_and_says_which(api: Api) -> None:
    one = a_ct()
    await api.seed.add(one)
    for query in SENSELESS:
        answer = await api.client.get(f"{url_of(one)}/rendered?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.req("API-11")
async def test_media_types_and_levels(api: Api) -> None:
    study, series = new_uid(), new_uid()
    one, two, film, report = (
        a_ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=1),
        a_ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=2),
        a_ct(frames=5, StudyInstanceUID=study, FrameTime=40),
        a_data_set(StudyInstanceUID=study, Modality="SR"),
    )
    del report.PixelData
    await api.seed.add(one, two, film, report)
    for accept, kind, form in (
        (None, "image/jpeg", "JPEG"),
        ("image/*", "image/jpeg", "JPEG"),
        ("text/html, image/png;q=0.5", "image/png", "PNG"),
        ("image/gif", "image/gif", "GIF"),
    ):
        headers = {"accept": accept} if accept else {}
        answer = await api.client.get(url_of(one) + "/rendered", headers=headers)
        assert answer.headers["content-type"] == kind
        assert Pillow.open(io.BytesIO(answer.content)).format == form
    assert (await api.client.get(url_of(one) + "/rendered?accept=image/png")).headers[
        "content-type"
    ] == "image/png"
    moving = await api.client.get(url_of(film) + "/rendered", headers={"accept": "image/gif"})
    found: Any = Pillow.open(io.BytesIO(moving.content))
    assert (found.n_frames, found.info["duration"]) == (5, 40)
    some = await api.client.get(
        url_of(film) + "/frames/2,4/rendered", headers={"accept": "image/gif"}
    )
    several: Any = Pillow.open(io.BytesIO(some.content))
    assert several.n_frames == 2
    parts = await api.client.get(url_of(film) + "/frames/2,4/rendered")
    assert parts.headers["content-type"].startswith('multipart/related; type="image/jpeg"')
    assert len(images(parts)) == 2
    for level, count in (("study", 3), ("series", 2)):
        answer = await api.client.get(f"{url_of(one, level)}/rendered")
        assert len(images(answer)) == count
        assert b"/rendered\r\n" in answer.content
        small = await api.client.get(f"{url_of(one, level)}/thumbnail", headers=PNG)
        assert picture(small).shape == (85, 128)
    small = await api.client.get(f"{url_of(one)}/thumbnail?viewport=12,99")
    assert small.headers["content-type"] == "image/jpeg"
    assert picture(small).shape == (8, 12)
    one_frame = await api.client.get(f"{url_of(film)}/frames/5/thumbnail")
    assert one_frame.status_code == 200
    for path in ("/rendered", "/thumbnail"):
        refused = await api.client.get(url_of(one) + path, headers={"accept": "text/html"})
        assert refused.status_code == 406
        without = await api.client.get(url_of(report) + path)
        assert without.status_code == 406
        assert "no pixels" in without.json()["detail"]


async def test_images_that_are_left_out_are_told_of(api: Api) -> None:
    one = a_ct()
    study = {"StudyInstanceUID": one.StudyInstanceUID, "SeriesInstanceUID": one.SeriesInstanceUID}
    cut = a_ct(frames=3, **study)
    cut.PixelData = cut.PixelData[:100]
    report = a_data_set(**study)
    del report.PixelData
    await api.seed.add(one, a_ct(**study))
    await api.client.get(f"{url_of(one)}/rendered")  # a worker is there
    whole = await api.client.get(f"{url_of(one, 'series')}/rendered")
    assert len(images(whole)) == 2
    assert "warning" not in whole.headers
    await api.seed.add(cut, report)
    answer = await api.client.get(f"{url_of(one, 'series')}/rendered")
    assert len(images(answer)) == 2
    assert answer.headers["warning"].startswith('299 darkroom "2 images that cannot be rendered')
    epilogue = answer.content.rpartition(b"--\r\n")[2].decode()
    for each in (cut, report):
        assert f"{url_of(each)}/rendered: 406 It cannot be answered in this form" in epilogue
    large = [a_ct(rows=700, columns=700, **study) for _ in range(4)]
    await api.seed.add(*large)
    answer = await api.client.get(f"{url_of(one, 'study')}/rendered?quality=100")
    assert len(images(answer)) == 6
    assert "cannot be rendered are left out" in answer.headers["warning"]
    assert f"{url_of(report)}/rendered: 406" in answer.content.rpartition(b"--\r\n")[2].decode()


async def test_what_is_known_is_not_made_again(api: Api) -> None:
    one = a_ct()
    await api.seed.add(one)
    url = f"{url_of(one)}/rendered?viewport=30,30"
    first = await api.client.get(url)
    assert first.headers["cache-control"].startswith("private")
    again = await api.client.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert (await api.client.get(url)).content == first.content
    for other in (url + "&window=1,2,linear", f"{url_of(one)}/thumbnail"):
        answer = await api.client.get(other, headers={"if-none-match": first.headers["etag"]})
        assert answer.status_code == 200
    png = await api.client.get(url, headers=PNG)
    assert png.headers["etag"] != first.headers["etag"]


async def test_annotations_profiles_and_quality(api: Api) -> None:
    one = a_ct(rows=300, columns=300, PatientName="Müller^Anna", SpecificCharacterSet="ISO_IR 192")
    colour = a_data_set(
        Rows=20,
        Columns=20,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=NOISE.integers(0, 256, (20, 20, 3)).astype("u1").tobytes(),
    )
    await api.seed.add(one, colour)
    url = url_of(one) + "/rendered"
    plain = picture(await api.client.get(url, headers=PNG))
    for words, above, below in (
        ("patient", 1, 0),
        ("technique", 0, 1),
        ("patient,technique", 1, 1),
    ):
        found = picture(await api.client.get(f"{url}?annotation={words}", headers=PNG))
        off = np.abs(found - plain).sum(axis=1) > 0
        assert (bool(off[:100].any()), bool(off[-60:].any())) == (bool(above), bool(below)), words
    sizes = [
        len((await api.client.get(f"{url}?quality={quality}")).content) for quality in (5, 50, 95)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2
    url = url_of(colour) + "/rendered"
    shown = {}
    for profile in ("no", "yes", "srgb", "adobergb", "rommrgb", "displayp3"):
        answer = await api.client.get(f"{url}?iccprofile={profile}", headers=PNG)
        shown[profile] = picture(answer)
        inside = Pillow.open(io.BytesIO(answer.content)).info.get("icc_profile")
        assert bool(inside) == (profile != "no")
    assert np.array_equal(shown["no"], shown["yes"])
    assert np.array_equal(shown["no"], shown["srgb"])
    for profile in ("adobergb", "rommrgb", "displayp3"):
        assert not np.array_equal(shown["no"], shown[profile])
