"""Objects by STOW-RS, through real processes: stored, found, and returned as they were."""

import gzip
import zlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from pydicom.encaps import encapsulate
from pydicom.uid import UID_dictionary  # type: ignore[attr-defined] # documented, not re-exported

from darkroom_common.dicom.heads import DEFLATED, PAPYRUS
from darkroom_common.dicom.part10 import FileMeta, decode_head, encode_head
from darkroom_common.dicom.syntaxes import RECENT
from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.storing.stowing import Stowing, stowing
from tests.support import waiting
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.stow import (
    BOUNDARY,
    DICOM,
    FAILED,
    OTHERS,
    TYPE,
    Part,
    a_body,
    a_file,
    reasons,
    uids,
)

IMPLICIT = {"1.2.840.10008.1.2", PAPYRUS}
BIG = "1.2.840.10008.1.2.2"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stow(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> AsyncIterator[Stowing]:
    async with stowing(
        postgres_server, rabbitmq_server, STOW_PARTS="100", STOW_LIMIT=str(1 << 20)
    ) as made:
        yield made


@pytest.mark.req("API-11")
async def test_a_study_is_stored_and_comes_back_bit_for_bit(stow: Stowing) -> None:
    study = new_uid()
    sent = {str(one.SOPInstanceUID): one for one in (a_data_set(StudyInstanceUID=study),) * 1}
    for _ in range(4):
        one = a_data_set(StudyInstanceUID=study)
        sent[str(one.SOPInstanceUID)] = one
    answer = await stow.store((a_file(one) for one in sent.values()), study)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    said = answer.json()
    assert set(uids(said)) == set(sent)
    assert FAILED not in said
    assert said["00081190"]["Value"] == [f"{stow.api.url}/dicom-web/studies/{study}"]
    for item in said["00081199"]["Value"]:
        uid = item["00081155"]["Value"][0]
        assert await stow.kept(uid) == encode(sent[uid])
        there = item["00081190"]["Value"][0]
        got = await stow.api.client.get(there, headers={"accept": DICOM})
        assert got.status_code == 200
        assert got.content.endswith(encode(sent[uid]))
    found = await stow.api.client.get("/dicom-web/instances", params={"StudyInstanceUID": study})
    assert {one["00080018"]["Value"][0] for one in found.json()} == set(sent)


async def test_the_answer_is_xml_where_that_is_wanted(stow: Stowing) -> None:
    one = a_data_set()
    for accept in ("application/dicom+xml", 'multipart/related; type="application/dicom+xml"'):
        answer = await stow.api.client.post(
            "/dicom-web/studies",
            content=a_body([a_file(one), b"x"]),
            headers={"content-type": TYPE, "accept": accept},
        )
        assert answer.status_code == 202
        assert answer.headers["content-type"] == "application/dicom+xml"
        assert f'<Value number="1">{one.SOPInstanceUID}</Value>' in answer.text
        assert 'keyword="OtherFailuresSequence"' in answer.text


async def test_one_object_without_a_multipart(stow: Stowing) -> None:
    one = a_data_set()
    answer = await stow.send(a_file(one), kind=DICOM)
    assert answer.status_code == 200, answer.text
    assert await stow.kept(str(one.SOPInstanceUID)) == encode(one)


async def test_it_comes_from_the_ae_title_that_rules_can_name(stow: Stowing) -> None:
    one = a_data_set()
    assert (await stow.store([a_file(one)])).status_code == 200
    await stow.kept(str(one.SOPInstanceUID))
    (row,) = await stow.fetch(
        "SELECT calling_ae_titles FROM index.study WHERE study_instance_uid = $1",
        str(one.StudyInstanceUID),
    )
    assert row[0] == ["DICOMWEB"]


async def test_the_same_again_is_one_object_and_other_bytes_are_a_conflict(stow: Stowing) -> None:
    one = a_data_set()
    for _ in range(2):
        assert (await stow.store([a_file(one)])).status_code == 200
    await stow.kept(str(one.SOPInstanceUID))
    kept = encode(one)
    one.InstanceNumber = 99
    assert (await stow.store([a_file(one)])).status_code == 200

    uid = str(one.SOPInstanceUID)

    async def told() -> bool:
        return bool(
            await stow.fetch(
                "SELECT FROM index.conflict c JOIN index.instance i ON i.id = c.instance_id"
                " WHERE i.sop_instance_uid = $1",
                uid,
            )
        )

    await waiting.until(told, "a conflict")
    assert await stow.kept(uid) == kept
    (row,) = await stow.fetch(
        "SELECT duplicates FROM index.instance WHERE sop_instance_uid = $1", uid
    )
    assert row[0] == 1


@pytest.mark.req("API-11")
async def test_one_bad_part_loses_no_good_one(stow: Stowing) -> None:
    good = [a_data_set() for _ in range(3)]
    other_class = a_data_set(SOPClassUID="1.2.3.4")
    lying = a_data_set()
    head = a_file(lying)[: -len(encode(lying))]
    parts: list[bytes | Part] = [
        a_file(good[0]),
        b"no object",
        a_file(good[1])[:-3],
        Part(b"<html/>", kind="text/html"),
        a_file(other_class),
        head + encode(good[2]),
        a_file(good[2]),
    ]
    answer = await stow.store(parts)
    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert set(uids(said)) == {str(good[0].SOPInstanceUID), str(good[2].SOPInstanceUID)}
    failed = dict(zip(uids(said, FAILED), reasons(said), strict=True))
    assert failed == {
        str(good[1].SOPInstanceUID): 0xC000,
        str(other_class.SOPInstanceUID): 0x0122,
        str(good[2].SOPInstanceUID): 0xA900,
    }
    assert reasons(said, OTHERS) == [0xC000, 0xC000]
    for one in (good[0], good[2]):
        assert await stow.kept(str(one.SOPInstanceUID)) == encode(one)


async def test_nothing_that_can_be_stored_is_a_conflict(stow: Stowing) -> None:
    one = a_data_set()
    answer = await stow.store([a_file(one)], new_uid())
    assert answer.status_code == 409
    assert uids(answer.json(), FAILED) == [str(one.SOPInstanceUID)]
    assert reasons(answer.json()) == [0xA901]
    assert "00081199" not in answer.json()


@pytest.mark.parametrize("study", ["%C3%A9", "1.2%20", "%F0%9F%98%80"])
async def test_a_path_that_names_no_study(stow: Stowing, study: str) -> None:
    assert (await stow.store([a_file(a_data_set())], study)).status_code == 400


async def test_what_is_no_study_of_the_path_is_left_out(stow: Stowing) -> None:
    right, wrong = a_data_set(), a_data_set()
    answer = await stow.store([a_file(right), a_file(wrong)], str(right.StudyInstanceUID))
    assert answer.status_code == 202
    assert uids(answer.json()) == [str(right.SOPInstanceUID)]
    assert reasons(answer.json()) == [0xA901]
    assert (
        await stow.fetch(
            "SELECT FROM index.study WHERE study_instance_uid = $1", str(wrong.StudyInstanceUID)
        )
        == []
    )


async def test_uids_that_were_missing_are_a_warning(stow: Stowing) -> None:
    one = a_data_set()
    del one.StudyInstanceUID
    answer = await stow.store([a_file(one)])
    assert answer.status_code == 202
    (item,) = answer.json()["00081199"]["Value"]
    assert item["00081196"]["Value"] == [0xB000]
    assert await stow.kept(str(one.SOPInstanceUID)) == encode(one)


async def test_what_comes_before_a_broken_body_is_stored(stow: Stowing) -> None:
    whole, cut = a_data_set(), a_data_set()
    body = a_body([a_file(whole), a_file(cut)])
    answer = await stow.send(body[: -len(BOUNDARY) - 30])
    assert answer.status_code == 202
    assert uids(answer.json()) == [str(whole.SOPInstanceUID)]
    assert reasons(answer.json(), OTHERS) == [0xC000]
    assert "unterminated" in answer.headers["warning"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", TYPE, 400),
        (b"\x00" * 1000, TYPE, 400),
        (f"--{BOUNDARY}--\r\n".encode(), TYPE, 400),
        (b"x" * 200_000, TYPE, 400),
        (b"x", 'multipart/related; type="application/dicom"', 400),
        (b"x", f'multipart/related; type="{DICOM}"; boundary="' + "b" * 300 + '"', 400),
        (f"--{BOUNDARY}\r\n".encode() + b"A: b\r\n" * 100 + b"\r\n", TYPE, 400),
        (f"--{BOUNDARY}\r\nA: ".encode() + b"b" * 100_000, TYPE, 400),
        (b"x", "text/plain", 415),
        (b"x", "", 415),
        (b"x", f'multipart/related; type="text/html"; boundary={BOUNDARY}', 415),
    ],
)
async def test_what_is_no_body_of_stow(stow: Stowing, body: bytes, kind: str, status: int) -> None:
    answer = await stow.send(body, kind=kind)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_more_parts_than_are_taken(stow: Stowing) -> None:
    one = a_data_set()
    answer = await stow.store([a_file(one), *[b"x"] * 120])
    assert answer.status_code == 413
    assert uids(answer.json()) == [str(one.SOPInstanceUID)]


async def test_a_body_that_is_too_long(stow: Stowing) -> None:
    body = a_body([bytes(1 << 21)])
    assert (await stow.send(body)).status_code == 413

    async def in_pieces() -> AsyncIterator[bytes]:
        yield body

    answer = await stow.api.client.post(
        "/dicom-web/studies", content=in_pieces(), headers={"content-type": TYPE}
    )
    assert answer.status_code == 413


async def test_a_body_that_is_packed_or_absent(stow: Stowing) -> None:
    packed = gzip.compress(a_body([a_file(a_data_set())]))
    headers = {"content-type": TYPE, "content-encoding": "gzip"}
    answer = await stow.api.client.post("/dicom-web/studies", content=packed, headers=headers)
    assert answer.status_code == 415
    bare = await stow.api.client.request("POST", "/dicom-web/studies")
    assert bare.status_code in (400, 411, 415)


async def test_who_may_not_write_stores_nothing(stow: Stowing) -> None:
    one = a_data_set()
    answer = await stow.api.anonymous.post(
        "/dicom-web/studies", content=a_body([a_file(one)]), headers={"content-type": TYPE}
    )
    assert answer.status_code == 401
    json_only = {"content-type": TYPE, "accept": "image/png"}
    answer = await stow.api.client.post(
        "/dicom-web/studies", content=a_body([a_file(one)]), headers=json_only
    )
    assert answer.status_code == 406
    found = await stow.fetch(
        "SELECT FROM index.instance WHERE sop_instance_uid = $1", str(one.SOPInstanceUID)
    )
    assert not found


async def test_the_audit_log_says_what_has_become_of_it(stow: Stowing) -> None:
    one = a_data_set()
    study = str(one.StudyInstanceUID)
    assert (await stow.store([a_file(one), b"junk"], study)).status_code == 202
    found = await stow.api.client.get(
        "/api/v1/audit-logs", params={"action": "DICOMWEB_STORE", "page_size": 1}
    )
    (row,) = found.json()["data"]
    assert row["resource_id"] == study
    assert row["details"]["stored"] == 1
    assert row["details"]["failed"] == 1
    assert row["details"]["studies"] == [study]


SYNTAXES = {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"}
OF_NOBODY = "1.2.826.0.1.3680043.10.1"
UNCOMPRESSED = {"1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.98", *IMPLICIT, BIG, *DEFLATED}


def in_syntax(syntax: str) -> tuple[str, bytes]:
    """An instance and its data set's bytes in any transfer syntax."""
    one = a_data_set(StudyInstanceUID="2.25.63", SeriesInstanceUID="2.25.64")
    if syntax not in UNCOMPRESSED:
        one.PixelData = encapsulate([b"no code stream of anything"])
        one["PixelData"].VR = "OB"
        one["PixelData"].is_undefined_length = True
    raw = encode(one, "1.2.840.10008.1.2" if syntax in IMPLICIT else syntax)
    if syntax in DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        raw = packer.compress(raw) + packer.flush()
        raw += b"\0" * (len(raw) % 2)
    return str(one.SOPInstanceUID), encode_head(FileMeta(CT, str(one.SOPInstanceUID), syntax)) + raw


async def test_every_transfer_syntax_is_stored_found_and_returned(stow: Stowing) -> None:
    every = sorted(SYNTAXES | set(RECENT))
    assert len(every) >= 63
    sent = {syntax: in_syntax(syntax) for syntax in (*every, OF_NOBODY)}
    answer = await stow.store(file for _, file in sent.values())
    assert answer.status_code == 200, answer.text
    assert set(uids(answer.json())) == {uid for uid, _ in sent.values()}
    for uid, _ in sent.values():
        await stow.kept(uid)
    base = "/dicom-web/studies/2.25.63/series/2.25.64/instances"
    found = await stow.api.client.get(base, params={"limit": 200})
    assert {one["00080018"]["Value"][0] for one in found.json()} == {
        uid for uid, _ in sent.values()
    }
    for syntax, (uid, file) in sent.items():
        wanted = {"accept": "application/dicom; transfer-syntax=*"}
        got = await stow.api.client.get(f"{base}/{uid}", headers=wanted)
        assert got.status_code == 200, (syntax, got.text)
        head, offset = decode_head(got.content)
        assert head.transfer_syntax_uid == syntax
        assert got.content[offset:] == file[decode_head(file)[1] :], syntax


async def test_a_segmentation_as_ohif_sends_it(stow: Stowing) -> None:
    one = a_data_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7", Modality="SEG")
    boundary = "a394cee9-eaa0-b16f-090e-7143c0d158dd"
    head = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = (
        head + a_file(one) + f"\r\n--{boundary}--".encode() + bytes(80)
    )  # it counts the end twice
    answer = await stow.send(body, kind=f'multipart/related; type="{DICOM}"; boundary="{boundary}"')
    assert answer.status_code == 200, answer.text
    assert await stow.kept(str(one.SOPInstanceUID)) == encode(one)
    found = await stow.api.client.get("/dicom-web/series", params={"Modality": "SEG"})
    assert [row["0020000E"]["Value"][0] for row in found.json()] == [str(one.SeriesInstanceUID)]
