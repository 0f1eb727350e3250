"""Frames and bulk data: at hand, found by a worker, or made by one; and videos."""

import zlib
from dataclasses import replace
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from darkroom_api.dicomweb.retrieving import parsing
from darkroom_api.dicomweb.retrieving.composite import read_pieces
from darkroom_api.dicomweb.retrieving.pixels import NoSuchFrame
from darkroom_api.http.errors import ApiError
from darkroom_common.objects.frame_places import packed
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.workers.pool import open_workers
from tests.support.builders import a_data_set, encode
from tests.support.shelf import EXPLICIT, Shelf, url_of
from tests.unit.api.retrieving.test_retrieving_objects import parts

OCTETS = "application/octet-stream"
ANY = f'multipart/related; type="{OCTETS}"; transfer-syntax=*'
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
IMPLICIT = "1.2.840.10008.1.2"
JPEG_XL = "1.2.840.10008.1.2.4.110"
JPEG_LS = "1.2.840.10008.1.2.4.80"


def an_image(frames: int = 1, samples: int = 1, **changes: Any) -> Dataset:
    """Return an image of 5 by 3 pixels, each of whose frames begins with its number."""
    size = 15 * samples
    pixels = b"".join(bytes([n]) * size for n in range(1, frames + 1))
    given = {"Rows": 3, "Columns": 5, "SamplesPerPixel": samples, **changes}
    if frames > 1:
        given["NumberOfFrames"] = frames
    if samples > 1:
        given |= {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    return a_data_set(**{"PixelData": pixels + bytes(len(pixels) % 2), **given})


def trailing(data_set: Dataset) -> Dataset:
    data_set.add_new(0xFFFCFFFC, "OB", bytes(4))
    return data_set


@pytest.mark.parametrize(
    ("data_set", "syntax"),
    [
        (an_image(), IMPLICIT),
        (an_image(4), "1.2.840.10008.1.2.1"),
        (an_image(3, 3), "1.2.840.10008.1.2.1"),
        (trailing(an_image(4)), "1.2.840.10008.1.2.1"),
        (trailing(an_image(2)), IMPLICIT),
    ],
)
async def test_native_frames_wherever_they_are(
    shelf: Shelf, data_set: Dataset, syntax: str
) -> None:
    shelf.add(data_set, syntax)
    count, size = int(data_set.get("NumberOfFrames") or 1), 15 * data_set.SamplesPerPixel
    frames = [bytes([n]) * size for n in range(1, count + 1)]
    numbers = ",".join(str(n) for n in range(count, 0, -1))
    url = url_of(data_set)
    answer = await shelf.client.get(f"{url}/frames/{numbers}", headers={"accept": ANY})
    assert answer.status_code == 200, answer.text
    assert [body for _, body in parts(answer)] == frames[::-1]
    assert int(answer.headers["content-length"]) == len(answer.content)
    where = [head["content-location"].rpartition("/")[2] for head, _ in parts(answer)]
    assert where == numbers.split(",")
    etag = {"accept": ANY, "if-none-match": answer.headers["etag"]}
    assert (await shelf.client.get(f"{url}/frames/{numbers}", headers=etag)).status_code == 304
    one = await shelf.client.get(f"{url}/frames/{count}", headers={"accept": OCTETS})
    assert one.content == frames[-1]
    part = await shelf.client.get(
        f"{url}/frames/{count}", headers={"accept": OCTETS, "range": "bytes=2-3"}
    )
    assert (part.status_code, part.content) == (206, frames[-1][2:4])
    every = await shelf.client.get(f"{url}/pixeldata", headers={"accept": ANY})
    assert [body for _, body in parts(every)] == frames
    for path, status in ((f"{count + 1}", 404), ("0", 400), ("x", 400), ("1,", 400)):
        answer = await shelf.client.get(f"{url}/frames/{path}", headers={"accept": ANY})
        assert answer.status_code == status, path


async def test_what_only_looks_like_pixel_data_is_none(shelf: Shelf) -> None:
    """The index is believed where the bytes agree with it, and nowhere else."""
    data_set = an_image(PixelData=b"\x07" * 40)  # more than one frame needs
    shelf.add(data_set)
    answer = await shelf.client.get(f"{url_of(data_set)}/frames/1", headers={"accept": OCTETS})
    assert answer.content == b"\x07" * 15
    short = an_image(PixelData=b"\x07" * 10)
    shelf.add(short)
    answer = await shelf.client.get(f"{url_of(short)}/frames/1", headers={"accept": OCTETS})
    assert answer.status_code == 404


async def test_compressed_frames_are_found_once(shelf: Shelf) -> None:
    data_set = an_image(3)
    bodies = [bytes([n]) * 20 for n in (1, 2, 3)]
    data_set.PixelData = encapsulate(bodies)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    shelf.add(data_set, RLE)
    url = url_of(data_set)
    for numbers, expected in (("2", [bodies[1]]), ("1,3", [bodies[0], bodies[2]])):
        answer = await shelf.client.get(f"{url}/frames/{numbers}", headers={"accept": ANY})
        assert [body for _, body in parts(answer)] == expected
        kinds = {head["content-type"] for head, _ in parts(answer)}
        assert kinds == {f"{OCTETS}; transfer-syntax={RLE}"}
    assert (await shelf.client.get(f"{url}/frames/4", headers={"accept": ANY})).status_code == 404
    named = await shelf.client.get(f"{url}/frames/1", headers={"accept": "image/dicom-rle"})
    assert named.content == bodies[0]


async def test_compressed_frames_are_where_the_index_says_and_no_worker_looks(
    shelf: Shelf, tmp_path: Path
) -> None:
    data_set = an_image(NumberOfFrames=500)
    bodies = [bytes([n % 256]) * (20 + n % 7 * 2) for n in range(500)]
    data_set.PixelData = encapsulate(bodies)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    whole = shelf.add(data_set, RLE)
    first = whole.index(b"\xfe\xff\x00\xe0") + 8 + 4 * 500 + 8  # behind the table of offsets
    lengths = [len(body) for body in bodies]
    items = zip(accumulate((n + 8 for n in lengths[:-1]), initial=first), lengths, strict=True)
    right = packed([(0, 0), *items], 500, RLE)
    assert right
    store = FileSystemStore(tmp_path)
    async with open_workers("tests.support.failing_renderer", str(2 << 30), processes=1) as dying:
        known = replace(shelf.rows[0], frame_places=right)
        finding = parsing.Parsing(store, dying, shelf.frame_places, processes=1)
        for numbers in ([250], [0, 499], [7]):
            found = await finding.frames(known, numbers)
            assert found.pieces is not None
            assert await read_pieces(store, [one for each in found.pieces for one in each]) == [
                bodies[number] for number in numbers
            ]
        with pytest.raises(NoSuchFrame):
            await finding.frames(known, [500])
        # Places of other bytes are not believed: a worker is asked, and this one dies of it.
        for wrong in (places_moved(right, 2), right[:-4] + bytes([1, 0, 0, 0])):
            finding = parsing.Parsing(store, dying, shelf.frame_places, processes=1)
            with pytest.raises(ApiError):
                await finding.frames(replace(known, frame_places=wrong), [250])


async def test_a_frame_is_drawn_from_where_the_index_says(shelf: Shelf) -> None:
    """And from where it is, when the index is wrong, or says nothing."""
    for moved in (0, 2, None):
        frames = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
        data_set = a_data_set(Rows=8, Columns=8, NumberOfFrames=4)
        bodies = [bytes(imagecodecs.jpegls_encode(one)) for one in frames]
        bodies = [body + bytes(len(body) % 2) for body in bodies]
        data_set.PixelData = encapsulate(bodies, has_bot=False)
        data_set["PixelData"].VR = "OB"
        data_set["PixelData"].is_undefined_length = True
        whole = shelf.add(data_set, JPEG_LS)
        lengths = [len(body) for body in bodies]
        first = whole.index(b"\xfe\xff\x00\xe0") + 16  # behind an empty table of offsets
        steps = accumulate((length + 8 for length in lengths[:-1]), initial=first)
        right = packed([(0, 0), *zip(steps, lengths, strict=True)], 4, JPEG_LS)
        assert right
        said = None if moved is None else places_moved(right, moved)
        shelf.rows[-1] = replace(shelf.rows[-1], frame_places=said)
        url = f"{url_of(data_set)}/frames/3"
        answer = await shelf.client.get(f"{url}/rendered", headers={"accept": "image/png"})
        assert np.array_equal(np.asarray(Image.open(BytesIO(answer.content))), frames[2])
        octets = await shelf.client.get(url, headers={"accept": OCTETS})
        assert octets.content == frames[2].tobytes()


def places_moved(places: bytes, by: int) -> bytes:
    start = int.from_bytes(places[:8], "little") + by
    return start.to_bytes(8, "little") + places[8:]


async def test_bulk_data_by_ranges_and_as_a_part(shelf: Shelf) -> None:
    data_set = a_data_set()
    data_set.add_new(0x00420011, "OB", bytes(range(200)))
    shelf.add(data_set)
    url = f"{url_of(data_set)}/bulkdata/00420011"
    whole = await shelf.client.get(url, headers={"accept": OCTETS})
    assert whole.content == bytes(range(200))
    several = {"accept": OCTETS, "range": "bytes=0-1,-1"}
    answer = await shelf.client.get(url, headers=several)
    assert [body for _, body in parts(answer)] == [b"\0\1", b"\xc7"]
    known = {"accept": OCTETS, "if-none-match": whole.headers["etag"]}
    assert (await shelf.client.get(url, headers=known)).status_code == 304
    ((head, body),) = parts(await shelf.client.get(url))
    assert body == bytes(range(200))
    assert head["content-location"].endswith("/bulkdata/00420011")
    refused = await shelf.client.get(url, headers={"accept": "text/html"})
    assert refused.status_code == 406
    assert (await shelf.client.get(url + "0")).status_code == 404
    nothing = a_data_set()
    nothing.add_new(0x00420011, "OB", b"")
    shelf.add(nothing)
    url = f"{url_of(nothing)}/bulkdata/00420011"
    assert (await shelf.client.get(url, headers={"accept": OCTETS})).status_code == 404


@pytest.mark.parametrize("bits", [8, 12])
async def test_jpeg_xl_is_decoded(shelf: Shelf, bits: int) -> None:
    pixels = np.arange(64 * 48).reshape(48, 64) % (1 << bits)
    width = 8 if bits == 8 else 16
    frame = pixels.astype(f"u{width // 8}")
    shape = {"Rows": 48, "Columns": 64, "BitsAllocated": width, "BitsStored": bits}
    data_set = a_data_set(**shape, HighBit=bits - 1)
    data_set.PixelData = encapsulate([bytes(imagecodecs.jpegxl_encode(frame, lossless=True))])
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    shelf.add(data_set, JPEG_XL)
    url = url_of(data_set)
    answer = await shelf.client.get(f"{url}/frames/1", headers={"accept": OCTETS})
    assert answer.content == frame.tobytes()
    assert answer.headers["content-type"].endswith("transfer-syntax=1.2.840.10008.1.2.1")
    assert answer.headers["content-location"].endswith("/frames/1")
    shown = await shelf.client.get(f"{url}/rendered", headers={"accept": "image/png"})
    assert shown.status_code == 200, shown.text


@pytest.mark.parametrize(
    ("syntax", "stream", "kind"),
    [
        ("1.2.840.10008.1.2.4.102", b"\0\0\0\x18ftypmp42" + bytes(400), "video/mp4"),
        ("1.2.840.10008.1.2.4.100", b"\0\0\1\xba" + bytes(400), "video/mpeg"),
        ("1.2.840.10008.1.2.4.104", (b"G" + bytes(187)) * 3, "video/mp2t"),
        ("1.2.840.10008.1.2.4.102", b"\0\0\0\1" + bytes(400), ""),
    ],
)
async def test_a_video_is_sent_as_what_it_is(
    shelf: Shelf, syntax: str, stream: bytes, kind: str
) -> None:
    data_set = an_image(30)
    data_set.PixelData = encapsulate([stream], has_bot=False)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    shelf.add(data_set, syntax)
    url = f"{url_of(data_set)}/rendered"
    answer = await shelf.client.get(url)
    if not kind:
        assert answer.status_code == 406
        return
    assert answer.headers["content-type"] == kind
    assert answer.content.startswith(stream)
    part = await shelf.client.get(url, headers={"accept": kind, "range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, stream[4:8])
    ((_, body),) = parts(await shelf.client.get(f'{url}?accept=multipart/related;type="{kind}"'))
    assert body.startswith(stream)
    refused = await shelf.client.get(url, headers={"accept": "image/jpeg"})
    assert refused.status_code == 406
    assert kind in refused.json()["detail"]


async def test_pixel_data_and_bulk_data_of_a_series(shelf: Shelf) -> None:
    native, other = an_image(2), an_image()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(other, keyword, getattr(native, keyword))
    native.add_new(0x00420011, "OB", bytes(2000))
    other.PixelData = encapsulate([b"\1" * 20])
    other["PixelData"].VR = "OB"
    other["PixelData"].is_undefined_length = True
    shelf.add(native)
    shelf.add(other, RLE)
    frames = [b"\1" * 15, b"\2" * 15, b"\1" * 20]
    for level in ("study", "series"):
        url = url_of(native, level)
        answer = await shelf.client.get(f"{url}/pixeldata", headers={"accept": ANY})
        assert [body for _, body in parts(answer)] == frames
        ends = [head["content-location"].rpartition("/instances/")[2] for head, _ in parts(answer)]
        uids = [str(native.SOPInstanceUID), str(other.SOPInstanceUID)]
        assert ends == [f"{uids[0]}/frames/1", f"{uids[0]}/frames/2", f"{uids[1]}/frames/1"]
        known = {"accept": ANY, "if-none-match": answer.headers["etag"]}
        assert (await shelf.client.get(f"{url}/pixeldata", headers=known)).status_code == 304
    bulk = await shelf.client.get(f"{url}/bulkdata", headers={"accept": ANY})
    pixels = frames[0] + frames[1]
    assert [body for _, body in parts(bulk)] == [bytes(2000), pixels, frames[2]]
    alone = await shelf.client.get(f"{url_of(native)}/bulkdata")
    assert [body for _, body in parts(alone)] == [bytes(2000), pixels]
    for path, accept, status in (
        (f"{url}/pixeldata", 'multipart/related; type="image/jls"', 406),
        (f"{url}/bulkdata", "image/jpeg", 406),
        (f"{url}9/bulkdata", ANY, 404),
        (f"{url}9/pixeldata", ANY, 404),
    ):
        answer = await shelf.client.get(path, headers={"accept": accept})
        assert answer.status_code == status, path


async def test_a_worker_that_dies_of_an_object_is_500_for_that_alone(
    shelf: Shelf, tmp_path: Path
) -> None:
    data_set = an_image()
    shelf.add(data_set, RLE)
    async with open_workers("tests.support.failing_renderer", str(2 << 30), processes=1) as dying:
        finding = parsing.Parsing(FileSystemStore(tmp_path), dying, shelf.frame_places, processes=1)
        for _ in range(2):  # a worker that knows nothing of such tasks ends; the next one, too
            with pytest.raises(ApiError) as refused:
                await finding.frames(shelf.rows[0], [0])
            assert refused.value.status == 500


async def test_clients_that_go_away_leave_room_for_values_that_are_made(shelf: Shelf) -> None:
    data_set = a_data_set()
    data_set.add_new(0x00420011, "OB", bytes(3 << 20))
    shelf.add(data_set, DEFLATED, zlib.compress(encode(data_set, EXPLICIT), wbits=-15))
    url = f"{url_of(data_set, 'series')}/bulkdata"
    for _ in range(3):
        await leave(shelf, url)
    assert len((await shelf.client.get(url)).content) > 3 << 20


async def leave(shelf: Shelf, url: str) -> None:
    """Ask, and be gone when the first bytes come."""
    transport, base = shelf.client._transport, shelf.client.base_url
    assert isinstance(transport, httpx.ASGITransport)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": base.scheme,
        "path": url,
        "raw_path": url.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", base.host.encode())],
        "server": (base.host, 80),
        "client": ("127.0.0.1", 1),
    }
    sent: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")
        sent.append(message["status"])

    await transport.app(scope, receive, send)
    assert sent == [200]
