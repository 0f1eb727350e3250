"""Questions to other nodes by REST, with api and transmit as processes (TRX-09, TRX-11)."""

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA

from darkroom_common.dimse.wire.command import Element, encode_command
from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.integration.transmit.nodes import (
    FIND,
    STORE_SYNTAXES,
    WORKLIST,
    archive_node,
    orthanc_node,
    scripted,
    worklist_node,
)
from tests.integration.transmit.test_rest import Both, a_destination, both_of
from tests.support.builders import a_data_set, encode, new_uid
from tests.support.dicom_peer import send
from tests.support.services import Services
from tests.support.waiting import dawdle, until

EXPLICIT = STORE_SYNTAXES[0]


@pytest.fixture
async def both(services: Services) -> AsyncIterator[Both]:
    async with both_of(services) as made:
        await services.start("transmit")
        yield made


async def add(both: Both, name: str, port: int, **changes: Any) -> None:
    given = a_destination(port, name=name, **{"ae_title": name, **changes})

    async def taken() -> httpx.Response | None:
        answer = await both.api.client.post("/api/v1/destinations", json=given)
        return answer if answer.status_code != 503 else None

    answer = await until(taken)  # transmit is ready a moment before its queues are
    assert answer.status_code == 201, answer.text


def logs(both: Both) -> str:
    running = both.desk.services.running.values()
    return "".join(one.log.read_text() for one in running)


def an_item(number: int, **changes: Any) -> Dataset:
    """Return a scheduled procedure step as wlmscpfs reads it."""
    step = Dataset()
    step.ScheduledStationAETitle = "CT1" if number % 2 else "MR1"
    step.ScheduledProcedureStepStartDate = "20260301" if number % 2 else "20260302"
    step.ScheduledProcedureStepStartTime = "101500"
    step.Modality = "CT" if number % 2 else "MR"
    step.ScheduledPerformingPhysicianName = "Planted^Doctor"
    step.ScheduledProcedureStepDescription = "THORAX"
    step.ScheduledProcedureStepID = f"S{number}"
    item = Dataset()
    item.AccessionNumber = f"A{number:04}"
    item.PatientName = f"Planted^Name{number:03}"
    item.PatientID = f"PLANTED-{number:03}"
    item.PatientBirthDate = "19700101"
    item.PatientSex = "F"
    item.StudyInstanceUID = new_uid()
    item.RequestedProcedureID = f"R{number}"
    item.RequestedProcedureDescription = "CT THORAX"
    item.ScheduledProcedureStepSequence = [step]
    for keyword, value in changes.items():
        setattr(item, keyword, value)
    return item


def value(item: dict[str, Any], tag: str) -> Any:
    return item[tag]["Value"][0]


@pytest.mark.req("TRX-09")
async def test_a_worklist_of_200_items_is_listed(both: Both, tmp_path: Path) -> None:
    items = [an_item(number) for number in range(200)]
    with worklist_node(tmp_path, items) as port:
        await add(both, "RIS", port)
        began = time.monotonic()
        found = await both.call("POST", "/worklist/query", 200, json={"remote": "RIS"})
        print(f"200 items in {time.monotonic() - began:.3f} s")
        assert {value(one, "00080050") for one in found} == {f"A{n:04}" for n in range(200)}
        one = next(one for one in found if value(one, "00080050") == "A0007")
        assert value(one, "00100010") == {"Alphabetic": "Planted^Name007"}
        step = value(one, "00400100")
        assert value(step, "00400001") == "CT1"
        assert value(step, "00400002") == "20260301"
        assert value(step, "00400007") == "THORAX"
        assert value(one, "0020000D") == items[7].StudyInstanceUID
        narrowed = {
            "A0007": {"accession_number": "A0007"},
            "A0009": {"patient_id": "PLANTED-009"},
            "A0011": {"patient_name": "Planted^Name011*"},
        }
        for expected, keys in narrowed.items():
            given = {"remote": "RIS", **keys}
            found = await both.call("POST", "/worklist/query", 200, json=given)
            assert [value(one, "00080050") for one in found] == [expected]
        for keys in (
            {"modality": "CT"},
            {"scheduled_station_ae_title": "CT1"},
            {"date": "2026-03-01"},
            {"date_from": "2026-02-01", "date_to": "2026-03-01"},
            {"date_to": "2026-03-01"},
        ):
            given = {"remote": "RIS", **keys}
            found = await both.call("POST", "/worklist/query", 200, json=given)
            assert {value(one, "00080050") for one in found} == {
                f"A{n:04}" for n in range(1, 200, 2)
            }
        answer = await both.api.client.post(
            "/api/v1/worklist/query", json={"remote": "RIS", "limit": 20}
        )
        assert len(answer.json()) == 20
        assert answer.headers["warning"].startswith("299")
        assert answer.headers["content-type"] == "application/dicom+json"
    assert "Planted" not in logs(both)
    assert "PLANTED" not in logs(both)


@pytest.mark.req("TRX-09")
@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 192", "Müller^Łukasz"),
        ("ISO_IR 100", "Müller^Jörg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
async def test_names_come_in_any_character_set(both: Both, character_set: Any, name: str) -> None:
    asked: list[Dataset] = []

    def on_find(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        item = an_item(1)
        item.SpecificCharacterSet = character_set
        item.PatientName = name
        yield 0xFF00, item

    with scripted([WORKLIST], [(evt.EVT_C_FIND, on_find)]) as port:
        await add(both, "PEER", port)
        given = {"remote": "PEER", "patient_name": "Müller*"}
        (found,) = await both.call("POST", "/worklist/query", 200, json=given)
    groups = value(found, "00100010")
    assert "=".join(groups[k] for k in ("Alphabetic", "Ideographic") if k in groups) == name
    assert value(found, "00080005") == "ISO_IR 192"
    assert asked[0].SpecificCharacterSet == "ISO_IR 100"
    assert str(asked[0].PatientName) == "Müller*"


def a_study(count: int, **changes: Any) -> list[Dataset]:
    study, series = new_uid(), new_uid()
    return [
        a_data_set(
            StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=n + 1, **changes
        )
        for n in range(count)
    ]


async def asked_at_three_levels(both: Both, name: str, study: list[Dataset]) -> None:
    uid, series = str(study[0].StudyInstanceUID), str(study[0].SeriesInstanceUID)
    path = f"/remote/{name}/query"
    found = await both.call("POST", path, 200, json={"keys": {"PatientID": "PLANTED-7"}})
    assert [value(one, "0020000D") for one in found] == [uid]
    assert value(found[0], "00100010") == {"Alphabetic": "Planted^Name"}
    given: dict[str, Any] = {"level": "series", "keys": {"0020000D": uid}}
    (one,) = await both.call("POST", path, 200, json=given)
    assert (value(one, "0020000E"), value(one, "00080060")) == (series, "CT")
    given = {
        "level": "image",
        "keys": {"StudyInstanceUID": uid, "SeriesInstanceUID": series},
        "include": ["Rows"],
    }
    found = await both.call("POST", path, 200, json=given)
    assert {value(one, "00080018") for one in found} == {str(d.SOPInstanceUID) for d in study}
    answer = await both.api.client.post(f"/api/v1{path}", json={**given, "limit": 3})
    assert len(answer.json()) == 3
    assert answer.headers["warning"].startswith("299")
    nothing = {"keys": {"PatientID": "NOBODY"}}
    assert await both.call("POST", path, 200, json=nothing) == []


@pytest.mark.req("TRX-11")
async def test_dcmtk_is_asked_at_three_levels(both: Both, tmp_path: Path) -> None:
    study, other = a_study(12, PatientID="PLANTED-7"), a_study(2, PatientID="PLANTED-8")
    files = [(one, EXPLICIT) for one in (*study, *other)]
    with archive_node(tmp_path, files, move_to=("DARKROOM", free_port())) as port:
        await add(both, "ARCHIVE", port)
        await asked_at_three_levels(both, "ARCHIVE", study)
    assert "PLANTED" not in logs(both)


@pytest.mark.req("TRX-11")
async def test_orthanc_is_asked_at_three_levels(both: Both, tmp_path: Path) -> None:
    study, other = a_study(12, PatientID="PLANTED-7"), a_study(2, PatientID="PLANTED-8")
    with orthanc_node(tmp_path, move_to=("DARKROOM", free_port())) as (port, _):
        given = [(str(one.SOPInstanceUID), encode(one)) for one in (*study, *other)]
        await asyncio.to_thread(send, port, given)
        await add(both, "ORTHANC", port)
        await asked_at_three_levels(both, "ORTHANC", study)


@contextmanager
def silent_node() -> Iterator[int]:
    """A listener that accepts connections and says nothing."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield listener.getsockname()[1]


def _abort(event: Event) -> Iterator[tuple[int, Dataset | None]]:
    yield 0xFF00, an_item(1)
    event.assoc.abort()


def _fail(event: Event) -> Iterator[tuple[int, Dataset | None]]:
    del event
    failed = Dataset()
    failed.Status = 0xA700
    failed.ErrorComment = "Planted comment"
    yield failed, None  # type: ignore[misc] # a data set is a status, too


async def test_what_goes_wrong_is_told_in_words(both: Both) -> None:
    ask = both.call
    refused = await ask("POST", "/remote/NOBODY/query", 404, json={})
    assert refused["name"] == "NOT_FOUND"
    await add(both, "AWAY", free_port())
    told = await ask("POST", "/remote/AWAY/query", 502, json={})
    assert told["fault"] == "ConnectionRefused"
    assert "nobody listens" in told["detail"]
    await ask("POST", "/worklist/query", 404, json={"remote": "NOBODY"})
    await ask("POST", "/worklist/query", 502, json={"remote": "AWAY"})
    with silent_node() as port:
        await add(both, "SILENT", port, answer_seconds=1)
        told = await ask("POST", "/remote/SILENT/query", 504, json={})
        assert told["fault"] == "AnswerTimeout"
    with scripted([FIND], [(evt.EVT_C_FIND, _fail)]) as port:
        await add(both, "FAILS", port)
        told = await ask("POST", "/remote/FAILS/query", 502, json={})
        assert told["dicom_status"] == "A700"
        assert "out of resources" in told["detail"]
        assert "Planted" not in json.dumps(told)
        told = await ask("POST", "/worklist/query", 502, json={"remote": "FAILS"})
        assert told["fault"] == "SopClassNotAccepted"
    with scripted([FIND], [(evt.EVT_C_FIND, _abort)]) as port:
        await add(both, "ABORTS", port)
        told = await ask("POST", "/remote/ABORTS/query", 502, json={})
        assert told["fault"] == "Aborted"
    for wrong in (
        {"level": "frame"},
        {"keys": {"Nonsense": "1"}},
        {"keys": {"PixelData": "1"}},
        {"keys": {"PatientID": "a\r\nb"}},
        {"level": "series"},
        {"limit": 0},
        {"limit": 100_000},
        {"level": "image", "keys": {"StudyInstanceUID": "1.2"}},
        {"unknown": 1},
        {"keys": {"PatientID": "1", "00100020": "2"}},
        {"keys": {"InstanceNumber": "Planted"}},
    ):
        told = await ask("POST", "/remote/AWAY/query", 422, json=wrong)
        assert "Planted" not in json.dumps(told)
    wrong = {"remote": "AWAY", "date": "2026-01-01", "date_to": "2026-01-02"}
    await ask("POST", "/worklist/query", 422, json=wrong)
    assert "Planted" not in logs(both)


@pytest.mark.req("TRX-11")
async def test_an_identifier_that_is_not_whole_is_an_error(both: Both) -> None:
    """A value that ends before its length."""

    def on_find(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        request: Any = event.request
        command = encode_command(
            0x8020, {Element.RESPONDED_TO: request.MessageID, Element.STATUS: 0xFF00}, data_set=True
        )
        data_set = struct.pack("<HHL", 0x0010, 0x0010, 500) + b"PLANTED-77"
        for kind, data in ((b"\x03", command), (b"\x02", data_set)):
            sent: Any = P_DATA()
            sent.presentation_data_value_list = [[event.context.context_id, kind + data]]
            event.assoc.dul.send_pdu(sent)
        yield 0x0000, None

    with scripted([FIND], [(evt.EVT_C_FIND, on_find)]) as port:
        await add(both, "BROKEN", port)
        told = await both.call("POST", "/remote/BROKEN/query", 502, json={})
        assert told["fault"] == "MalformedIdentifier"
    assert "PLANTED" not in logs(both)


@pytest.mark.req("TRX-11")
async def test_more_than_the_limit_is_cancelled(both: Both) -> None:
    cancelled = threading.Event()

    def on_find(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(2000):
            if event.is_cancelled:
                cancelled.set()
                yield 0xFE00, None
                return
            match = Dataset()
            match.QueryRetrieveLevel = "STUDY"
            match.StudyInstanceUID = f"1.2.{number}"
            yield 0xFF00, match
            dawdle(0.002)

    with scripted([FIND], [(evt.EVT_C_FIND, on_find)]) as port:
        await add(both, "ENDLESS", port)
        answer = await both.api.client.post("/api/v1/remote/ENDLESS/query", json={"limit": 10})
        assert len(answer.json()) == 10
        assert answer.headers["warning"].startswith("299")
        assert await asyncio.to_thread(cancelled.wait, 20)


async def test_who_may_ask(both: Both) -> None:
    anonymous = both.api.anonymous
    for path in ("/remote/X/query", "/worklist/query"):
        assert (await anonymous.post(f"/api/v1{path}", json={})).status_code == 401
