"""Frames and objects in what the client accepts (PS3.18 section 8.7.3)."""

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, new_uid

_4 = "1.2.840.10008.1.2.4."
EXPLICIT, IMPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"
JPEG, SV1, JLS, J2K, HTJ2K = (f"{_4}{n}" for n in ("50", "70", "80", "90", "201"))
FILES = {
    "MR_small_RLE.dcm": "image/dicom-rle",
    "MR_small_jpeg_ls_lossless.dcm": "image/jls",
    "MR_small_jp2klossless.dcm": "image/jp2",
    "MR_small.dcm": "application/octet-stream",
    "MR_small_bigendian.dcm": "application/octet-stream",
    "SC_rgb_rle_2frame.dcm": "image/dicom-rle",
    "SC_rgb_2frame.dcm": "application/octet-stream",
}
MADE = {
    "image/dicom-rle": RLE,
    "image/jls": JLS,
    "image/jp2": J2K,
    "image/jphc": HTJ2K,
    "image/jpeg": SV1,
    "application/octet-stream": EXPLICIT,
}


def url_of(one: Dataset) -> str:
    return (
        f"/dicom-web/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}"
        f"/instances/{one.SOPInstanceUID}"
    )


async def stored(api: Api, name: str) -> Dataset:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    whole = dcmread(path)
    raw = await asyncio.to_thread(Path(path).read_bytes)
    offset = 132 + 12 + whole.file_meta.FileMetaInformationGroupLength
    whole.SOPInstanceUID = new_uid()
    syntax = str(whole.file_meta.TransferSyntaxUID)
    await api.seed.add(whole, transfer_syntax=syntax, encoded=raw[offset:])
    return whole


def parts(answer: httpx.Response) -> list[tuple[str, bytes]]:
    assert answer.status_code == 200, answer.text
    boundary = answer.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    found = []
    for piece in answer.content.split(b"--" + boundary)[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        kind = next(x for x in head.split(b"\r\n") if x.lower().startswith(b"content-type:"))
        found.append((kind.decode().partition(":")[2].strip(), body.removesuffix(b"\r\n")))
    return found


def decoded(kind: str, body: bytes, one: Dataset) -> Any:
    """Decode a frame by what is not under test."""
    width = f"<u{one.BitsAllocated // 8}"
    shape = (one.Rows, one.Columns, one.SamplesPerPixel)
    match kind:
        case "application/octet-stream":
            found = np.frombuffer(body, width)
        case "image/dicom-rle":
            flat = np.frombuffer(imagecodecs.dicomrle_decode(body, width), width)
            planes = flat.reshape((one.SamplesPerPixel, one.Rows, one.Columns))
            found = np.moveaxis(planes, 0, -1)
        case "image/jls":
            found = imagecodecs.jpegls_decode(body)
        case "image/jp2":
            found = imagecodecs.jpeg2k_decode(body)
        case "image/jphc":
            found = imagecodecs.htj2k_decode(body)
        case "image/jpeg":
            colours = "RGB" if one.SamplesPerPixel > 1 else None
            found = imagecodecs.jpeg8_decode(body, colorspace=colours, outcolorspace=colours)
    if kind == "application/octet-stream" and one.get("PlanarConfiguration") == 1:
        return np.moveaxis(found.reshape((shape[2], *shape[:2])), 0, -1).astype(np.uint16)
    return np.asarray(found).reshape(shape).astype(width).astype(np.uint16)


@pytest.mark.req("API-11")
async def test_frames_in_every_media_type_have_equal_pixels(api: Api) -> None:
    for name, own in FILES.items():
        one = await stored(api, name)
        count = int(one.get("NumberOfFrames") or 1)
        pixels = pixels_of(one, name)
        numbers = ",".join(str(number) for number in range(1, count + 1))
        url = f"{url_of(one)}/frames/{numbers}"
        for kind, syntax in MADE.items():
            accept = {"accept": f'multipart/related; type="{kind}"'}
            found = parts(await api.client.get(url, headers=accept))
            as_stored = kind == own
            label = str(one.file_meta.TransferSyntaxUID) if as_stored else syntax
            if kind == "application/octet-stream":
                label = EXPLICIT
            assert [told for told, _ in found] == [f"{kind}; transfer-syntax={label}"] * count
            for number, (_, body) in enumerate(found):
                assert np.array_equal(decoded(kind, body, one), pixels[number]), (name, kind)
        single = await api.client.get(f"{url_of(one)}/frames/1", headers={"accept": "image/jls"})
        assert single.headers["content-type"].startswith("image/jls; transfer-syntax=")
        assert np.array_equal(decoded("image/jls", single.content, one), pixels[0])


def pixels_of(one: Dataset, name: str) -> Any:
    """Return (frames, rows, columns, samples); the files of one name have the same pixels."""
    path = get_testdata_file("MR_small.dcm", download=False) if name.startswith("MR_") else None
    pixels = pixel_array(dcmread(str(path)) if path else one, raw=True)
    shape = (int(one.get("NumberOfFrames") or 1), one.Rows, one.Columns, one.SamplesPerPixel)
    return pixels.reshape(shape).astype(np.uint16)


async def test_no_code_stream_is_under_a_wrong_label(api: Api) -> None:
    one = await stored(api, "MR_small_RLE.dcm")
    raw = pixel_array(one, raw=True).tobytes()
    url = f"{url_of(one)}/frames/1"
    octets = 'multipart/related; type="application/octet-stream"'
    for accept, kind in (
        (octets, f"application/octet-stream; transfer-syntax={EXPLICIT}"),
        (f"{octets}; transfer-syntax={EXPLICIT}", None),
        (f"{octets}; transfer-syntax=*", f"application/octet-stream; transfer-syntax={RLE}"),
        (f"{octets}; transfer-syntax={RLE}", f"application/octet-stream; transfer-syntax={RLE}"),
        ("*/*", f"image/dicom-rle; transfer-syntax={RLE}"),
        (f'multipart/related; type="image/jpeg"; transfer-syntax={SV1}', None),
        (f'multipart/related; type="image/jls";q=0.1, {octets};q=0.2', None),
    ):
        ((told, body),) = parts(await api.client.get(url, headers={"accept": accept}))
        assert kind in (None, told), accept
        if told == f"application/octet-stream; transfer-syntax={EXPLICIT}":
            assert body == raw
    for accept in (
        f"{octets}; transfer-syntax={J2K}",
        f'multipart/related; type="image/jp2"; transfer-syntax={_4}91',
        'multipart/related; type="image/jxl"',
        'multipart/related; type="video/mp4"',
        f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG}',  # 16 bits
        "text/html",
    ):
        answer = await api.client.get(url, headers={"accept": accept})
        assert answer.status_code == 406, accept
        assert answer.json()["code"] == 4004
    over = await api.client.get(f"{url_of(one)}/frames/2", headers={"accept": octets})
    assert over.status_code == 404


async def test_jpeg_baseline_only_when_it_is_named(api: Api) -> None:
    one = await stored(api, "SC_rgb_2frame.dcm")
    accept = f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG}'
    found = parts(await api.client.get(f"{url_of(one)}/frames/2", headers={"accept": accept}))
    assert found[0][0] == f"image/jpeg; transfer-syntax={JPEG}"
    shown = imagecodecs.jpeg8_decode(found[0][1]).astype(np.int64)
    assert np.abs(shown - pixel_array(one, index=1, raw=True)).mean() < 20


async def test_objects_in_every_transfer_syntax_have_equal_pixels(api: Api) -> None:
    for name in FILES:
        one = await stored(api, name)
        pixels = pixels_of(one, name)
        mine = str(one.file_meta.TransferSyntaxUID)
        for syntax in (EXPLICIT, IMPLICIT, RLE, SV1, JLS, J2K, HTJ2K):
            headers = {"accept": f"application/dicom; transfer-syntax={syntax}"}
            answer = await api.client.get(url_of(one), headers=headers)
            assert answer.status_code == 200, answer.text
            assert ("content-location" in answer.headers) == (syntax != mine)
            headers = {
                "accept": f'multipart/related; type="application/dicom"; {syntax_of(syntax)}'
            }
            ((told, body),) = parts(await api.client.get(url_of(one), headers=headers))
            assert told == f"application/dicom; transfer-syntax={syntax}"
            assert body == answer.content
            made = dcmread(io.BytesIO(body))
            assert made.file_meta.TransferSyntaxUID == syntax
            back = await encoded_back(api, made, body)
            assert np.array_equal(back.reshape(pixels.shape).astype(np.uint16), pixels), syntax


def syntax_of(uid: str) -> str:
    return f"transfer-syntax={uid}"


async def encoded_back(api: Api, made: Dataset, body: bytes) -> Any:
    """Return the pixels of an object that was stored again and asked for without compression."""
    offset = 132 + 12 + made.file_meta.FileMetaInformationGroupLength
    made.SOPInstanceUID = new_uid()
    syntax = str(made.file_meta.TransferSyntaxUID)
    await api.seed.add(made, transfer_syntax=syntax, encoded=body[offset:])
    headers = {"accept": f"application/dicom; {syntax_of(EXPLICIT)}"}
    answer = await api.client.get(url_of(made), headers=headers)
    assert answer.status_code == 200, answer.text
    return pixel_array(dcmread(io.BytesIO(answer.content)), raw=True)


async def test_a_study_of_several_syntaxes_comes_in_the_one_that_is_asked_for(api: Api) -> None:
    study = new_uid()
    native = a_data_set(StudyInstanceUID=study)
    await api.seed.add(native)
    path = get_testdata_file("MR_small_RLE.dcm", download=False)
    whole = pydicom.dcmread(str(path))
    whole.StudyInstanceUID, whole.SOPInstanceUID = study, new_uid()
    await api.seed.add(whole, transfer_syntax=RLE)
    url = f"/dicom-web/studies/{study}"
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}'
    found = parts(await api.client.get(url, headers={"accept": accept}))
    assert [told for told, _ in found] == [f"application/dicom; transfer-syntax={EXPLICIT}"] * 2
    for other in (f"{EXPLICIT}.99.7", JPEG):
        headers = {"accept": accept.replace(EXPLICIT, other)}
        assert (await api.client.get(url, headers=headers)).status_code == 406
    both = f"{accept.replace(EXPLICIT, RLE)}, {accept}"
    found = parts(await api.client.get(url, headers={"accept": both}))
    assert {told for told, _ in found} == {
        f"application/dicom; transfer-syntax={uid}" for uid in (RLE, EXPLICIT)
    }


@pytest.mark.req("API-11")
async def test_what_is_liked_better_goes_out_where_it_can_be_made(api: Api) -> None:
    octets = 'multipart/related; type="application/octet-stream"; transfer-syntax=*;q=0.2'
    frames = {"accept": f'{octets}, multipart/related; type="image/jp2"'}
    objects = {"accept": f"application/dicom;q=0.2, application/dicom; {syntax_of(J2K)}"}
    several = {
        "accept": 'multipart/related; type="application/dicom";q=0.2, multipart/related; '
        f'type="application/dicom"; {syntax_of(J2K)}'
    }
    for name, syntax in (("MR_small_RLE.dcm", J2K), ("rtdose_rle_1frame.dcm", RLE)):
        one = await stored(api, name)  # the second has 32 bits, too many for JPEG 2000
        ((told, _),) = parts(await api.client.get(f"{url_of(one)}/frames/1", headers=frames))
        assert told.endswith(syntax_of(syntax))
        answer = await api.client.get(url_of(one), headers=objects)
        assert dcmread(io.BytesIO(answer.content)).file_meta.TransferSyntaxUID == syntax
        ((told, body),) = parts(await api.client.get(url_of(one), headers=several))
        assert told == f"application/dicom; {syntax_of(syntax)}"
        assert body == answer.content
