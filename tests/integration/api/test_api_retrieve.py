"""WADO-RS: bytes as stored, metadata, frames, bulk data."""

import asyncio
import io
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, new_uid

DICOM_PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def parts(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Parse a multipart answer with the standard library, strictly by its own boundary."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message: Message = BytesParser(policy=HTTP).parsebytes(head)
    boundary = message.get_boundary()
    assert boundary is not None
    assert answer.content.startswith(f"--{boundary}\r\n".encode())
    pieces = (b"\r\n" + answer.content).split(f"\r\n--{boundary}".encode())
    assert pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        headers, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        kind = next(x for x in headers.split(b"\r\n") if x.lower().startswith(b"content-type:"))
        found.append((kind.decode().partition(":")[2].strip(), body))
    return found


def url_of(data_set: Any, level: str = "instance") -> str:
    url = f"/dicom-web/studies/{data_set.StudyInstanceUID}"
    if level != "study":
        url += f"/series/{data_set.SeriesInstanceUID}"
    if level == "instance":
        url += f"/instances/{data_set.SOPInstanceUID}"
    return url


@pytest.mark.req("API-11")
async def test_objects_come_back_byte_for_byte_at_each_level(api: Api) -> None:
    study, series = new_uid(), new_uid()
    one, two, other = (
        a_data_set(StudyInstanceUID=study, SeriesInstanceUID=uid, InstanceNumber=number)
        for uid, number in ((series, 2), (series, 1), (new_uid(), 1))
    )
    two.PixelData = bytes(3_000_000)  # more than a chunk
    stored = await api.seed.add(one, two, other)
    for level, expected in (("study", {0, 1, 2}), ("series", {1, 0}), ("instance", {0})):
        answer = await api.client.get(url_of(one, level), headers={"accept": DICOM_PARTS})
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) == len(answer.content)
        found = parts(answer)
        assert {kind for kind, _ in found} == {
            "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
        }
        bodies = [body for _, body in found]
        assert all(body[128:132] == b"DICM" for body in bodies)
        assert len(bodies) == len(expected)
        for number in expected:
            assert any(body.endswith(stored[number]) for body in bodies)
    ordered = parts(await api.client.get(url_of(one, "series"), headers={"accept": DICOM_PARTS}))
    assert [dcmread(io.BytesIO(body)).InstanceNumber for _, body in ordered] == [1, 2]
    answer = await api.client.get(url_of(one), headers={"accept": "application/dicom"})
    assert answer.headers["content-type"].startswith("application/dicom; transfer-syntax=")
    assert answer.content.endswith(stored[0])


async def test_negotiation_answers_what_is_stored_or_406(api: Api) -> None:
    data_set = a_data_set()
    await api.seed.add(data_set)
    for accept, status in (
        ("*/*", 200),
        ("multipart/related", 200),
        ('multipart/related; type="application/dicom"', 200),
        ("multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.1", 200),
        ("multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50", 406),
        (f"multipart/related; type=application/dicom; transfer-syntax=1.2.3, {DICOM_PARTS}", 200),
        ("application/dicom; q=0", 406),
        ("application/dicom+json", 406),
        ("image/jpeg", 406),
        ("nonsense", 406),
    ):
        answer = await api.client.get(url_of(data_set), headers={"accept": accept})
        assert answer.status_code == status, accept
    answer = await api.client.get(
        url_of(data_set, "study"), headers={"accept": "application/dicom"}
    )
    assert answer.status_code == 406
    assert "multipart/related" in answer.json()["detail"]
    answer = await api.client.get(url_of(data_set) + "?accept=application/dicom")
    assert answer.headers["content-type"].startswith("application/dicom;")


@pytest.mark.req("API-11")
async def test_metadata_is_complete_sorted_and_refers_to_bulk_data(api: Api) -> None:
    study, series = new_uid(), new_uid()
    many = [
        a_data_set(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            InstanceNumber=number,
            ImageComments='a "BulkDataURI":"bulkdata/ in a text',
        )
        for number in range(1, 131)
    ]
    await api.seed.add(*many)
    for level, count in (("study", 130), ("series", 130), ("instance", 1)):
        answer = await api.client.get(url_of(many[0], level) + "/metadata")
        assert answer.headers["content-type"] == "application/dicom+json"
        assert answer.headers["content-encoding"] == "zstd"
        found = answer.json()
        assert len(found) == count
        assert [one["00200013"]["Value"][0] for one in found] == list(range(1, count + 1))
        for one in found:
            assert list(one) == sorted(one)
            assert one["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
            assert one["00204000"]["Value"] == ['a "BulkDataURI":"bulkdata/ in a text']
            assert one["7FE00010"]["BulkDataURI"].startswith(f"{api.url}/dicom-web/studies/{study}")
    plain = await api.client.get(
        url_of(many[0]) + "/metadata", headers={"accept-encoding": "identity"}
    )
    assert "content-encoding" not in plain.headers
    bulk = await api.client.get(found[0]["7FE00010"]["BulkDataURI"])
    assert parts(bulk)[0] == ("application/octet-stream", b"\x00\x01\x02\x03")


async def test_an_object_that_cannot_be_parsed_still_answers_its_uids(api: Api) -> None:
    data_set = a_data_set()
    await api.seed.add(data_set, encoded=b"\xff" * 500, readable=False)
    (one,) = (await api.client.get(url_of(data_set) + "/metadata")).json()
    assert one["00080018"]["Value"] == [data_set.SOPInstanceUID]
    assert one["0020000D"]["Value"] == [data_set.StudyInstanceUID]
    (found,) = (await api.client.get("/dicom-web/instances?includefield=all")).json()
    assert found["0020000E"]["Value"] == [data_set.SeriesInstanceUID]
    for path in ("/frames/1", "/bulkdata/7FE00010"):
        answer = await api.client.get(url_of(data_set) + path)
        assert answer.status_code == 404
        assert answer.json()["name"] == "NOT_FOUND"
    answer = await api.client.get(url_of(data_set), headers={"accept": "application/dicom"})
    assert answer.content.endswith(b"\xff" * 500)


async def test_what_is_not_there_is_404_in_one_way(api: Api) -> None:
    data_set = a_data_set()
    await api.seed.add(data_set)
    base = url_of(data_set)
    bodies = []
    for path in (
        "/dicom-web/studies/1.2.3",
        "/dicom-web/studies/1.2.3/metadata",
        f"/dicom-web/studies/{'1' * 65}",
        "/dicom-web/studies/a%00b",
        base + "9",
        base.replace("/series/", "/series/9"),
    ):
        answer = await api.client.get(path)
        assert answer.status_code == 404, path
        error = answer.json()
        error.pop("request_id")
        bodies.append(error)
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == 2001


REAL = [
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "image_dfl.dcm",
    "MR_small_RLE.dcm",
    "JPEG2000.dcm",
    "JPEG-lossy.dcm",
    "liver_1frame.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_2frame.dcm",
    "examples_ybr_color.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "rtdose.dcm",
    "liver.dcm",
    "693_J2KI.dcm",
    "bad_sequence.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
]


def bytes_of(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_frames_of_real_files_equal_what_pydicom_reads(api: Api) -> None:
    tried = 0
    for name in REAL:
        path = get_testdata_file(name, download=False)
        if not isinstance(path, str):
            continue
        whole = dcmread(path, force=True)
        if "PixelData" not in whole:
            continue
        syntax = whole.file_meta.TransferSyntaxUID
        raw = bytes_of(path)
        offset = 132 + 12 + whole.file_meta.FileMetaInformationGroupLength
        whole.SOPInstanceUID = new_uid()  # some of these files share theirs
        await api.seed.add(whole, transfer_syntax=str(syntax), encoded=raw[offset:])
        count = int(whole.get("NumberOfFrames") or 1)
        wanted = ",".join(str(number) for number in range(1, count + 1))
        accept = "multipart/related; type=application/octet-stream; transfer-syntax=*"
        answer = await api.client.get(
            f"{url_of(whole)}/frames/{wanted}", headers={"accept": accept}
        )
        assert answer.status_code == 200, (name, answer.text)
        found = [body for _, body in parts(answer)]
        assert len(found) == count
        if syntax.is_encapsulated:
            expected = list(generate_frames(whole.PixelData, number_of_frames=count))
            assert [f.rstrip(b"\0") for f in found] == [e.rstrip(b"\0") for e in expected], name
            default = await api.client.get(f"{url_of(whole)}/frames/1")
            assert parts(default)[0][0].startswith(("image/", "video/")), name
        else:
            joined = b"".join(found)
            swap = not syntax.is_little_endian and whole.BitsAllocated == 16
            pixels = whole.PixelData[: len(joined)]
            if swap:
                pixels = bytes(pixels[i ^ 1] for i in range(len(pixels)))
            if whole.BitsAllocated > 1:
                assert joined == pixels, name
        over = await api.client.get(f"{url_of(whole)}/frames/{count + 1}")
        assert over.status_code == 404
        tried += 1
    assert tried > 9
    for bad in ("0", "x", "1,", "1.5", "-1"):
        answer = await api.client.get(f"{url_of(whole)}/frames/{bad}")
        assert answer.status_code == 400, bad


@pytest.mark.req("API-11")
async def test_bulk_data_by_path_and_by_range(api: Api) -> None:
    value = bytes(range(256)) * 1024
    item = type(a_data_set())()
    item.add_new(0x00420011, "OB", b"\x01\x02" * 2000)
    data_set = a_data_set(Rows=512, Columns=512, PixelData=value)
    data_set.add_new(0x00480001, "SQ", [type(item)(), item])
    await api.seed.add(data_set)
    (one,) = (await api.client.get(url_of(data_set) + "/metadata")).json()
    nested = one["00480001"]["Value"][1]["00420011"]["BulkDataURI"]
    assert nested.endswith("/bulkdata/00480001/1/00420011")
    assert parts(await api.client.get(nested))[0][1] == b"\x01\x02" * 2000
    pixels = one["7FE00010"]["BulkDataURI"]
    octets = {"accept": "application/octet-stream"}
    assert (await api.client.get(pixels, headers=octets)).content == value
    for asked, status, content in (
        ("bytes=0-9", 206, value[:10]),
        ("bytes=10-", 206, value[10:]),
        ("bytes=-10", 206, value[-10:]),
        ("bytes=5-99999999999", 206, value[5:]),
        ("bytes=99999999-", 416, None),
        ("bytes=9-5", 200, value),
        ("bytes=-0", 416, None),
        ("lines=1-2", 200, value),
        ("bytes=99999999999999999999999999-", 200, value),
    ):
        answer = await api.client.get(pixels, headers={**octets, "range": asked})
        assert answer.status_code == status, asked
        if content is not None:
            assert answer.content == content
        if status == 206:
            assert answer.headers["content-range"].endswith(f"/{len(value)}")
    several = await api.client.get(pixels, headers={**octets, "range": "bytes=0-1,4-5"})
    assert several.status_code == 206
    assert [body for _, body in parts(several)] == [value[:2], value[4:6]]
    for path in ("00480001", "00480001/7/00420011", "nonsense", "7FE00010/", "00480001/x/00420011"):
        answer = await api.client.get(f"{url_of(data_set)}/bulkdata/{path}")
        assert answer.status_code == 404, path


async def test_a_lost_object_is_an_error_and_not_an_empty_answer(api: Api) -> None:
    data_set = a_data_set()
    await api.seed.add(data_set)
    for path in api.services.store.rglob("*.dcm"):
        path.unlink()
    answer = await api.client.get(url_of(data_set))
    assert answer.status_code == 500
    assert answer.json()["name"] == "INTERNAL_ERROR"


@pytest.mark.filterwarnings("ignore")
async def test_an_independent_client_finds_and_fetches(api: Api) -> None:
    data_set = a_data_set(NumberOfFrames=1)
    await api.seed.add(data_set)
    session = requests.Session()
    session.headers["Authorization"] = api.client.headers["authorization"]
    client = DICOMwebClient(f"{api.url}/dicom-web", session=session)
    uids = {
        "study_instance_uid": data_set.StudyInstanceUID,
        "series_instance_uid": data_set.SeriesInstanceUID,
        "sop_instance_uid": data_set.SOPInstanceUID,
    }

    def use() -> None:
        found = client.search_for_studies(search_filters={"PatientID": "PLANTED-1"})
        assert len(found) == 1
        assert client.search_for_studies(search_filters={"PatientID": "NOBODY"}) == []
        assert client.search_for_instances(uids["study_instance_uid"])
        assert client.retrieve_instance(**uids).PatientName == "Planted^Name"
        assert len(client.retrieve_study(uids["study_instance_uid"])) == 1
        assert client.retrieve_instance_metadata(**uids)["00100020"]["Value"] == ["PLANTED-1"]
        assert client.retrieve_instance_frames(**uids, frame_numbers=[1]) == [b"\0\1\2\3"]
        (metadata,) = client.retrieve_series_metadata(
            uids["study_instance_uid"], uids["series_instance_uid"]
        )
        assert client.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"]) == [b"\0\1\2\3"]

    def use_what_is_left() -> None:
        """Every other method that reads."""
        study, series = uids["study_instance_uid"], uids["series_instance_uid"]
        above = {name: uids[name] for name in list(uids)[:2]}
        (found,) = client.search_for_studies(fields=["StudyDescription"], limit=1, offset=0)
        assert found["0020000D"]["Value"] == [study]
        fuzzy = client.search_for_studies(
            fuzzymatching=True, search_filters={"PatientName": "nam"}, get_remaining=True
        )
        assert len(fuzzy) == 1
        for searched in (client.search_for_series(), client.search_for_series(study)):
            assert [one["0020000E"]["Value"] for one in searched] == [[series]]
        assert len(client.search_for_instances(**above)) == 1
        (whole,) = client.retrieve_study_metadata(study)
        assert whole["0020000E"]["Value"] == [series]
        assert [one.SeriesInstanceUID for one in client.retrieve_series(**above)] == [series]
        assert [one.StudyInstanceUID for one in client.iter_study(study)] == [study]
        assert len(list(client.iter_series(**above))) == 1
        assert list(client.iter_instance_frames(**uids, frame_numbers=[1])) == [b"\0\1\2\3"]
        url = whole["7FE00010"]["BulkDataURI"]
        assert list(client.iter_bulkdata(url)) == [b"\0\1\2\3"]
        png = ("image/png",)
        assert client.retrieve_instance_rendered(**uids, media_types=png).startswith(b"\x89PNG")
        assert b"\x89PNG" in client.retrieve_series_rendered(**above, media_types=png)
        frame = client.retrieve_instance_frames_rendered(**uids, frame_numbers=[1], media_types=png)
        assert frame.startswith(b"\x89PNG")
        assert client.lookup_tag("PatientName") == "00100010"
        assert client.lookup_keyword("00100010") == "PatientName"

    await asyncio.to_thread(use)
    await asyncio.to_thread(use_what_is_left)
