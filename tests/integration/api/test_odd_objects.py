"""Objects against the standard are shown as what they are: in JSON, as frames and as bulk data."""

import struct
import zlib

import pytest
from pydicom.dataset import Dataset

from tests.integration.api.conftest import Api
from tests.integration.api.test_api_retrieve import parts, url_of
from tests.support.builders import a_data_set, encode

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
PIXELS = bytes(range(4))
ANY = {"accept": "*/*"}
OCTETS = {"accept": "application/octet-stream"}
pytestmark = pytest.mark.req("ING-15")


def element(tag: int, vr: bytes, value: bytes, syntax: str) -> bytes:
    group, number = tag >> 16, tag & 0xFFFF
    if syntax == IMPLICIT:
        return struct.pack("<HHL", group, number, len(value)) + value
    order = ">" if syntax == BIG else "<"
    if vr == b"SQ":
        return struct.pack(f"{order}HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack(f"{order}HH2sH", group, number, vr, len(value)) + value


def with_odd(one: Dataset, odd: bytes, before: int, syntax: str) -> bytes:
    """The data set with bytes of ours before a tag, as it is stored."""
    plain = EXPLICIT if syntax == DEFLATED else syntax
    data = encode(one[:before], plain) + odd + encode(one[before:], plain)
    if syntax != DEFLATED:
        return data
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ODD = (
    (0x00020010, b"UI", b"1.2.840.10008.1.2.4.50"),
    (0x00020010, b"UI", b"1.2.840.10008.1.2.2\0"),
    (0x00081030, b"UK", b"CHEST "),
    (0x00081030, b"  ", b"CHEST "),
    (0x00081115, b"SQ", b"no items at all "),
)
"""Group 2 that says another syntax, VRs that are none, a sequence that is none."""


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
async def test_header_frames_and_bulk_data_are_right(api: Api, syntax: str) -> None:
    for tag, vr, value in ODD:
        one = a_data_set(BitsAllocated=8, PixelData=PIXELS)
        plain = EXPLICIT if syntax == DEFLATED else syntax
        before = 0x00080008 if tag < 0x00080000 else tag
        data = with_odd(one, element(tag, vr, value, plain), before, syntax)
        await api.seed.add(one, transfer_syntax=syntax, encoded=data)
        await assert_right(api, one, tag, data, big=syntax == BIG)


async def assert_right(api: Api, one: Dataset, tag: int, stored: bytes, *, big: bool) -> None:
    (header,) = (await api.client.get(f"{url_of(one)}/metadata")).json()
    assert header["00100020"]["Value"] == ["PLANTED-1"]
    assert header["7FE00010"]["BulkDataURI"].endswith("/bulkdata/7FE00010")
    if tag == 0x00081030:
        assert header["00081030"] == {"vr": "LO", "Value": ["CHEST"]}
    if tag == 0x00081115:
        assert header["00081115"]["vr"] == "UN"
    frames = await api.client.get(f"{url_of(one)}/frames/1", headers=ANY)
    ((kind, frame),) = parts(frames)
    swapped = b"".join(PIXELS[at : at + 2][::-1] for at in (0, 2))  # OW are words (PS3.5 A.3)
    assert frame == (swapped if big else PIXELS)
    assert "1.2.840.10008.1.2.1" in kind
    bulk = await api.client.get(f"{url_of(one)}/bulkdata/7FE00010", headers=OCTETS)
    assert bulk.content == (swapped if big else PIXELS)
    whole = await api.client.get(url_of(one), headers={"accept": "application/dicom"})
    assert whole.content.endswith(stored)
