"""`POST /api/v1/validate`: uploads, forms and stored objects; what is refused; nothing is kept."""

import asyncio
import io
import struct
import zlib
from typing import Any, Final

import httpx
import pydicom
import pytest

from tests.integration.api.conftest import Api
from tests.support.builders import CT, a_data_set
from tests.support.real_files import REAL_FILES

DICOM: Final = {"content-type": "application/dicom"}
PATH: Final = "/api/v1/validate"
SAMPLE: Final = next(path for path in REAL_FILES if path.name == "CT_small.dcm").read_bytes()

REFUSED: Final = (
    (b"no object", "application/dicom", 422),
    (b"", "application/dicom", 422),
    (b"%PDF-1.7" * 99, "application/dicom", 422),
    (SAMPLE, "image/jpeg", 415),
    (SAMPLE, "", 415),
    (b"{}", "application/json", 422),
    (b'{"sop_instance_uid": "SECRET"}', "application/json", 404),
    (b'{"sop_instance_uid": "1.2", "more": 1}', "application/json", 422),
    (b"[" * 50_000, "application/json", 422),
    (SAMPLE, "multipart/form-data", 422),
    (SAMPLE, "multipart/form-data; boundary=x", 422),
    (b"--x\r\n\r\nabc\r\n--x--", "multipart/form-data; boundary=x", 422),
    (b"--x\r\n" * 1000, "multipart/form-data; boundary=x", 422),
)


def wrong() -> bytes:
    """An object with one error that quotes a secret."""
    data_set = pydicom.dcmread(io.BytesIO(SAMPLE))
    data_set.PatientSex = "SECRET"
    file = io.BytesIO()
    data_set.save_as(file)
    return file.getvalue()


def only(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert "SECRET" not in answer.text
    (finding,) = answer.json()["findings"]
    found: dict[str, Any] = finding
    return found


def bomb() -> bytes:
    """A deflated object of 600 MB in 600 kB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFF0))
    for _ in range(36):
        packed += packer.compress(bytes(1 << 24))
    syntax = b"1.2.840.10008.1.2.1.99"
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax
    head = bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00" + struct.pack("<L", len(meta))
    return head + meta + packed + packer.flush()


@pytest.mark.req("API-23")
async def test_an_object_in_each_way(api: Api) -> None:
    valid = await api.client.post(PATH, content=SAMPLE, headers=DICOM)
    assert valid.status_code == 200, valid.text
    assert valid.json()["valid"] is True
    assert valid.json()["iod"] == "CT Image"
    assert valid.json()["findings"] == []
    assert "Image Pixel" in valid.json()["modules"]
    body = wrong()
    by_itself = only(await api.client.post(PATH, content=body, headers=DICOM))
    in_a_form = only(
        await api.client.post(PATH, data={"note": "x"}, files={"file": ("a.dcm", body)})
    )
    assert by_itself == in_a_form
    assert by_itself == {
        "module": "Patient",
        "tag": "(0010,0040)",
        "keyword": "PatientSex",
        "path": [],
        "kind": "value",
        "severity": "error",
        "message": "A value is none of the enumerated ones.",
        "section": "PS3.3 table C.7-1",
        "count": 1,
    }
    await api.seed.add(a_data_set(SOPInstanceUID="1.2.3.4.5", SOPClassUID=CT, PatientSex="SECRET"))
    answer = await api.client.post(PATH, json={"sop_instance_uid": "1.2.3.4.5"})
    assert answer.status_code == 200, answer.text
    assert "SECRET" not in answer.text
    found = {(one["keyword"], one["kind"]) for one in answer.json()["findings"]}
    assert ("PatientSex", "value") in found
    other = await api.client.post(PATH, json={"sop_instance_uid": "1.2.3.4.6"})
    assert (other.status_code, other.json()["code"]) == (404, 2001)
    audited = await api.client.get("/api/v1/audit-logs", params={"action": "STUDY_VALIDATE"})
    assert {one["resource_id"] for one in audited.json()["data"]} == {"1.2.3.4.5", None}


async def test_what_is_refused(api: Api) -> None:
    for content, kind, status in REFUSED:
        headers = {"content-type": kind} if kind else {}
        answer = await api.client.post(PATH, content=content, headers=headers)
        assert answer.status_code == status, (content[:60], kind, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "SECRET" not in answer.text
    assert (await api.anonymous.post(PATH, content=SAMPLE, headers=DICOM)).status_code == 401


async def test_bombs_and_giants_cost_their_own_request_alone(api: Api) -> None:
    giant = await api.client.post(PATH, content=bytes((64 << 20) + 1), headers=DICOM)
    assert giant.status_code == 413
    many = struct.pack("<HH2sHH", 9, 0x1010, b"LO", 2, 0x2020) * 6_000_000
    refused, crowded, valid = await asyncio.gather(
        api.client.post(PATH, content=bomb(), headers=DICOM, timeout=60),
        api.client.post(PATH, content=SAMPLE[:400] + many[: 60 << 20], headers=DICOM, timeout=60),
        api.client.post(PATH, content=SAMPLE, headers=DICOM, timeout=60),
    )
    assert refused.status_code == 422
    assert crowded.status_code in (200, 422)
    assert valid.json()["valid"] is True
    assert (await api.client.post(PATH, content=SAMPLE, headers=DICOM)).status_code == 200
