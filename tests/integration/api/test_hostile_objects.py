"""Objects that are made to cost: they cost a worker, and its own request alone."""

import asyncio
import struct
import zlib
from pathlib import Path

import httpx
from pydicom.dataset import Dataset

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, encode

DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
JXL = "1.2.840.10008.1.2.4.110"
PRIVATE = "1.2.826.0.1.3680043.9.9999.1"
MOST = 48 << 20
"""Bytes that the API may grow by."""
EVERY = {"accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


def url_of(one: Dataset) -> str:
    return (
        f"/dicom-web/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}"
        f"/instances/{one.SOPInstanceUID}"
    )


def rss(api: Api) -> int:
    """Return the bytes that the API's own process holds."""
    process = api.services.running["api"].process
    assert process is not None
    pages = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def deflated(data: bytes, zeros: int) -> bytes:
    """Deflate a data set that ends with so many zeros of a value."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    made = [packer.compress(data)]
    made += [packer.compress(bytes(1 << 20)) for _ in range(zeros >> 20)]
    return b"".join([*made, packer.flush()])


def element(tag: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length)


async def test_a_small_object_that_inflates_to_gigabytes_costs_the_api_nothing(api: Api) -> None:
    zeros = 256 << 20
    whole = a_data_set(Rows=16384, Columns=16384, BitsAllocated=8)
    del whole.PixelData
    pixels = encode(whole) + element(0x7FE00010, b"OB", zeros)
    other = a_data_set()
    del other.PixelData
    private = encode(other) + element(0x7FE10010, b"OB", zeros)
    await api.seed.add(
        whole, transfer_syntax=DEFLATED, encoded=deflated(pixels, zeros), readable=False
    )
    await api.seed.add(
        other, transfer_syntax=DEFLATED, encoded=deflated(private, zeros), readable=False
    )
    before = rss(api)
    octets = {"accept": "application/octet-stream"}
    for url, headers in (
        (f"{url_of(whole)}/frames/1", EVERY),
        (f"{url_of(whole)}/bulkdata/7FE00010", octets),
        (f"{url_of(other)}/bulkdata/7FE10010", octets),
        (f"{url_of(other)}/frames/1", EVERY),
    ):
        size = 0
        async with api.client.stream("GET", url, headers=headers, timeout=120) as answer:
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
        assert answer.status_code == (404 if size < zeros else 200)
    assert rss(api) - before < MOST


async def test_others_are_served_while_slow_clients_take_what_has_to_be_made(api: Api) -> None:
    zeros = 256 << 20
    whole = a_data_set(Rows=16384, Columns=16384, BitsAllocated=8)
    del whole.PixelData
    data = encode(whole) + element(0x7FE00010, b"OB", zeros)
    await api.seed.add(
        whole, transfer_syntax=DEFLATED, encoded=deflated(data, zeros), readable=False
    )
    small = a_data_set()
    await api.seed.add(small)
    streams = [api.client.stream("GET", f"{url_of(whole)}/frames/1", headers=EVERY) for _ in "12"]
    answers = [await one.__aenter__() for one in streams]
    assert {one.status_code for one in answers} == {200}
    third = await api.client.get(f"{url_of(whole)}/frames/1", headers=EVERY)
    assert third.status_code == 503
    assert third.headers["retry-after"]
    for _ in range(5):
        assert (await api.client.get(f"{url_of(small)}/frames/1")).status_code == 200
    for one in streams:
        await one.__aexit__(None, None, None)


def nested(levels: int) -> bytes:
    """Return a sequence within a sequence, so many times, by defined lengths."""
    made = b""
    for _ in range(levels):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(made)) + made
        made = element(0x00081140, b"SQ", len(item)) + item
    return made


async def test_what_is_broken_is_not_found_and_harms_nobody(api: Api) -> None:
    for syntax in (EXPLICIT, BIG, DEFLATED, JXL, PRIVATE):
        await ask_for_what_is_broken(api, syntax)


async def ask_for_what_is_broken(api: Api, syntax: str) -> None:
    good = a_data_set()
    await api.seed.add(good)
    for body in (b"", b"\0" * 999, bytes(range(256)) * 9, nested(2000), encode(a_data_set())[:-3]):
        broken = a_data_set()
        packed = deflated(body, 0) if syntax == DEFLATED else body
        await api.seed.add(broken, transfer_syntax=syntax, encoded=packed or b"x", readable=False)
        for path in ("/frames/1", "/bulkdata/7FE00010", "/bulkdata/00081140/0/00081155"):
            answer = await api.client.get(url_of(broken) + path, headers=EVERY)
            assert answer.status_code == 404, (syntax, path, answer.text)
    answers = await asyncio.gather(*(api.client.get(f"{url_of(good)}/frames/1") for _ in range(20)))
    assert {one.status_code for one in answers} == {200}


def fragments(*frames: bytes) -> bytes:
    """Return encapsulated pixel data with an empty table."""
    items = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(f)) + f for f in (b"", *frames))
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return element(0x7FE00010, b"OB", 0xFFFFFFFF) + items + end


UNKNOWN = {
    JXL: "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
    "1.2.840.10008.1.2.8.1": "application/octet-stream",
    "1.2.840.10008.1.2.4.999": "application/octet-stream",
    PRIVATE: "application/octet-stream",
}


async def test_frames_that_nobody_here_can_decode_are_served_as_stored(api: Api) -> None:
    for syntax, kind in UNKNOWN.items():
        await ask_for_what_nobody_decodes(api, syntax, kind)


async def ask_for_what_nobody_decodes(api: Api, syntax: str, kind: str) -> None:
    frames = [b"\xff\x0a" + bytes([number]) * 10 for number in range(3)]
    whole = a_data_set(NumberOfFrames=3)
    del whole.PixelData
    await api.seed.add(whole, transfer_syntax=syntax, encoded=encode(whole) + fragments(*frames))
    for accept in (EVERY, {"accept": f'multipart/related; type="{kind}"; transfer-syntax=*'}):
        answer = await api.client.get(f"{url_of(whole)}/frames/3,1", headers=accept)
        assert answer.status_code == 200, (syntax, answer.text)
        assert _parts(answer) == [frames[2], frames[0]]
    assert (await api.client.get(f"{url_of(whole)}/frames/4", headers=EVERY)).status_code == 404
    bulk = await api.client.get(f"{url_of(whole)}/bulkdata/7FE00010", headers=EVERY)
    assert _parts(bulk) == frames


def _parts(answer: httpx.Response) -> list[bytes]:
    boundary = answer.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    pieces = answer.content.split(b"--" + boundary)[1:-1]
    return [one.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for one in pieces]
