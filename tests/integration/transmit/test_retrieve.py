"""Retrieving from other nodes into Darkroom, with all services as processes (TRX-11)."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.events import Event

from darkroom_local.engines.ports import LOOPBACK
from tests.integration.transmit.nodes import (
    FIND,
    GET,
    MOVE,
    STORE_SYNTAXES,
    archive_node,
    orthanc_node,
    scripted,
)
from tests.integration.transmit.test_remote_query import add
from tests.integration.transmit.test_rest import Both, both_of
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import send
from tests.support.services import Services, prepare_database
from tests.support.waiting import dawdle, until

EXPLICIT = STORE_SYNTAXES[0]
COMPRESSED = STORE_SYNTAXES[2]
LIMIT = 60.0


@asynccontextmanager
async def stack(services: Services, *, ingest: bool = True) -> AsyncIterator[Both]:
    services.extra |= {
        "INGEST_DICOM_PORT": str(services.dicom_port),
        "RETRIEVE_SILENCE_SECONDS": "3",
    }
    async with both_of(services) as both:
        await prepare_database(services.superuser_url, "ingest")
        started = ["transmit", "ingest", "metadata"] if ingest else ["transmit"]
        await services.start(*started)
        yield both


@pytest.fixture
async def both(services: Services) -> AsyncIterator[Both]:
    async with stack(services) as made:
        yield made


@pytest.fixture
async def lonely(services: Services) -> AsyncIterator[Both]:
    """The same without ingest and metadata."""
    async with stack(services, ingest=False) as made:
        yield made


def a_study(count: int, **changes: Any) -> list[Dataset]:
    uid = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    return [a_data_set(InstanceNumber=n + 1, **{**uid, **changes}) for n in range(count)]


async def start(both: Both, name: str, study: Any, **changes: Any) -> str:
    given = {"study_instance_uid": str(study), **changes}
    answer = await both.call("POST", f"/remote/{name}/retrieve", 202, json=given)
    return str(answer["job_id"])


async def ended(both: Both, job: str, *states: str) -> dict[str, Any]:
    """Wait until a job is in one of some states; return it."""
    found: dict[str, Any] = {}

    async def came() -> bool:
        found.update(await both.call("GET", f"/retrieve/jobs/{job}", 200))
        return found.get("state") in states

    try:
        await until(came, limit=LIMIT)
    except AssertionError:
        log = both.desk.services.running["transmit"].log.read_text()[-3000:]
        raise AssertionError(f"{states} never came: {found}\n{log}") from None
    return found


async def _completed(both: Both, job: str) -> int:
    """Return how many objects of a job have come."""
    return int((await both.call("GET", f"/retrieve/jobs/{job}", 200))["completed"])


async def indexed(both: Both, study: str, count: int) -> dict[str, str]:
    """Wait until a study has so many instances; return their transfer syntaxes."""

    async def came() -> dict[str, str] | None:
        rows = await both.desk.prepared.fetch(
            "SELECT i.sop_instance_uid, i.transfer_syntax_uid FROM index.instance i"
            " JOIN index.series e ON e.id = i.series_id JOIN index.study s ON s.id = e.study_id"
            " WHERE s.study_instance_uid = $1",
            study,
        )
        found = {row["sop_instance_uid"]: row["transfer_syntax_uid"] for row in rows}
        return found if len(rows) >= count else None

    return await until(came, limit=LIMIT)


@pytest.mark.req("TRX-11")
@pytest.mark.parametrize("method", ["move", "get"])
async def test_a_study_of_dcmtk_is_retrieved(both: Both, tmp_path: Path, method: str) -> None:
    study = a_study(10)
    uid = str(study[0].StudyInstanceUID)
    files = [(one, EXPLICIT) for one in study]
    ours = ("DARKROOM", both.desk.services.dicom_port)
    with archive_node(tmp_path, files, move_to=ours) as port:
        await add(both, "ARCHIVE", port)
        wanted = [str(one.SOPInstanceUID) for one in study]
        part = await start(both, "ARCHIVE", uid, method=method, sop_instance_uids=wanted[:3])
        done = await ended(both, part, "DONE", "FAILED")
        assert (done["state"], done["completed"]) == ("DONE", 3), done
        assert set(await indexed(both, uid, 3)) == set(wanted[:3])
        job = await start(both, "ARCHIVE", uid, method=method)
        done = await ended(both, job, "DONE", "FAILED")
        assert (done["state"], done["completed"], done["failed"]) == ("DONE", 10, 0), done
        assert done["status"] == "0000"
        assert set(await indexed(both, uid, 10)) == set(wanted)
        listed = await both.call("GET", "/retrieve/jobs?state=DONE&remote=ARCHIVE", 200)
        assert [one["job_id"] for one in listed["data"]] == [job, part]
        await both.call("POST", f"/retrieve/jobs/{job}/cancel", 409)
        nothing = await start(both, "ARCHIVE", new_uid(), method=method)
        assert (await ended(both, nothing, "DONE", "FAILED", "RETRYING"))["state"] == "FAILED"


@pytest.mark.req("TRX-11")
@pytest.mark.parametrize("method", ["move", "get"])
async def test_a_study_of_orthanc_is_retrieved(both: Both, tmp_path: Path, method: str) -> None:
    study = a_study(6)
    uid = str(study[0].StudyInstanceUID)
    ours = ("DARKROOM", both.desk.services.dicom_port)
    with orthanc_node(tmp_path, move_to=ours) as (port, _):
        given = [(str(one.SOPInstanceUID), encode(one)) for one in study]
        await asyncio.to_thread(send, port, given)
        await add(both, "ORTHANC", port)
        job = await start(both, "ORTHANC", uid, method=method)
        done = await ended(both, job, "DONE", "FAILED")
        assert (done["state"], done["completed"]) == ("DONE", 6), done
        assert set(await indexed(both, uid, 6)) == {str(one.SOPInstanceUID) for one in study}


@dataclass
class Source:
    """A node whose C-GET and C-MOVE are as a test wants them."""

    study: list[Dataset]
    fail_first: int = 0  # of the objects, at the first request
    status: int | None = None
    silent: bool = False
    slow: float = 0.0
    asked: list[Dataset] = field(default_factory=list)
    to: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    target: int = 0

    def on_find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        level = event.identifier.QueryRetrieveLevel
        given = self.study[:1] if level == "SERIES" else self.study
        for one in given:
            match = Dataset()
            match.QueryRetrieveLevel = level
            match.StudyInstanceUID = one.StudyInstanceUID
            match.SeriesInstanceUID = one.SeriesInstanceUID
            if level == "IMAGE":
                match.SOPInstanceUID = one.SOPInstanceUID
                match.SOPClassUID = one.SOPClassUID
            yield 0xFF00, match

    def _wanted(self, event: Event) -> list[Dataset]:
        self.asked.append(event.identifier)
        named = event.identifier.get("SOPInstanceUID", None)
        uids = [named] if isinstance(named, str) else named
        return [one for one in self.study if uids is None or one.SOPInstanceUID in uids]

    def on_get(self, event: Event) -> Iterator[Any]:
        wanted = self._wanted(event)
        self.begun.set()
        if self.silent:
            dawdle(8)
        if self.status is not None:
            yield len(wanted)
            yield self.status, None
            return
        yield len(wanted)
        for number, one in enumerate(wanted):
            if event.is_cancelled:
                self.cancelled.set()
                yield 0xFE00, None
                return
            dawdle(self.slow)
            if number < self.fail_first:
                broken = Dataset()
                broken.SOPInstanceUID = one.SOPInstanceUID
                broken.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.9"  # was not proposed
                yield 0xFF00, broken
                continue
            yield 0xFF00, one
        self.fail_first = 0

    def on_move(self, event: Event) -> Iterator[Any]:
        self.to = str(event.move_destination)
        if self.status == 0xA801:
            yield None, None
            return
        wanted = self._wanted(event)
        self.begun.set()
        yield LOOPBACK, self.target, {"contexts": [_context()]}
        yield len(wanted)
        for number, one in enumerate(wanted):
            if event.is_cancelled:
                self.cancelled.set()
                yield 0xFE00, None
                return
            dawdle(self.slow)
            if number < self.fail_first:
                broken = Dataset()
                broken.SOPInstanceUID = one.SOPInstanceUID
                broken.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.9"
                yield 0xFF00, broken
                continue
            yield 0xFF00, one
        self.fail_first = 0


def _context() -> Any:
    ae = AE("PEER")
    ae.add_requested_context(CT, STORE_SYNTAXES[:1])
    return ae.requested_contexts[0]


@asynccontextmanager
async def serving(both: Both, source: Source, **changes: Any) -> AsyncIterator[None]:
    source.target = both.desk.services.dicom_port
    for one in source.study:
        one.file_meta = _meta(one)
    handlers: Any = [
        (evt.EVT_C_FIND, source.on_find),
        (evt.EVT_C_GET, source.on_get),
        (evt.EVT_C_MOVE, source.on_move),
    ]
    with scripted([FIND, GET, MOVE, CT], handlers) as port:
        await add(both, "PEER", port, **changes)
        yield


def _meta(one: Dataset) -> Any:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(EXPLICIT)
    meta.MediaStorageSOPClassUID = one.SOPClassUID
    meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    return meta


@pytest.mark.req("TRX-11")
@pytest.mark.parametrize("method", ["move", "get"])
async def test_only_what_failed_is_asked_for_again(both: Both, method: str) -> None:
    source = Source(a_study(6), fail_first=2)
    async with serving(both, source):
        uid = str(source.study[0].StudyInstanceUID)
        job = await start(both, "PEER", uid, method=method)
        done = await ended(both, job, "DONE", "FAILED")
        assert (done["state"], done["completed"], done["attempts"]) == ("DONE", 6, 2), done
        first, second = source.asked
        assert first.QueryRetrieveLevel == "STUDY"
        assert second.QueryRetrieveLevel == "IMAGE"
        assert set(second.SOPInstanceUID) == {str(o.SOPInstanceUID) for o in source.study[:2]}
        assert second.SeriesInstanceUID == source.study[0].SeriesInstanceUID
        assert len(await indexed(both, uid, 6)) == 6
        if method == "move":
            assert source.to == "DARKROOM"


@pytest.mark.req("TRX-11")
async def test_what_a_node_sends_is_stored_bit_for_bit(both: Both) -> None:
    source = Source(a_study(2, PixelData=bytes(range(256)) * 4000))
    async with serving(both, source):
        uid = str(source.study[0].StudyInstanceUID)
        await ended(both, await start(both, "PEER", uid, method="get"), "DONE")
        await indexed(both, uid, 2)
    rows = await both.desk.prepared.fetch(
        "SELECT sop_instance_uid, object_key, data_set_offset FROM index.instance"
    )
    stored = {
        row["sop_instance_uid"]: sha256(
            (both.desk.services.store / row["object_key"]).read_bytes()[row["data_set_offset"] :]
        ).hexdigest()
        for row in rows
    }
    assert stored == {
        str(one.SOPInstanceUID): sha256(encode(one)).hexdigest() for one in source.study
    }


@pytest.mark.req("TRX-11")
async def test_what_cannot_be_is_told_and_not_tried_again(lonely: Both) -> None:
    source = Source(a_study(2), status=0xA801)
    async with serving(lonely, source):
        uid = str(source.study[0].StudyInstanceUID)
        job = await start(lonely, "PEER", uid)
        failed = await ended(lonely, job, "FAILED", "DONE", "RETRYING")
        assert (failed["state"], failed["reason"]) == ("FAILED", "MoveDestinationUnknown")
        assert failed["status"] == "A801"
        assert (await lonely.call("POST", f"/retrieve/jobs/{job}/retry", 200))["state"] == "PENDING"
        await ended(lonely, job, "FAILED")
    given = {"study_instance_uid": "1.2.3"}
    await lonely.call("POST", "/remote/NOBODY/retrieve", 404, json=given)
    await lonely.call("POST", "/remote/PEER/retrieve", 422, json={"method": "get"})
    await lonely.call("GET", f"/retrieve/jobs/{'0' * 32}", 404)
    await lonely.call("POST", f"/retrieve/jobs/{'0' * 32}/cancel", 404)


@pytest.mark.req("TRX-11")
async def test_without_ingest_nothing_is_answered_with_success(lonely: Both) -> None:
    """The objects come once ingest is there."""
    source = Source(a_study(3))
    async with serving(lonely, source):
        uid = str(source.study[0].StudyInstanceUID)
        job = await start(lonely, "PEER", uid, method="get")
        found = await ended(lonely, job, "RETRYING")
        assert (found["completed"], found["failed"]) == (0, 3)
        await lonely.desk.services.start("ingest", "metadata")
        done = await ended(lonely, job, "DONE")
        assert done["completed"] == 3
        await indexed(lonely, uid, 3)


@pytest.mark.req("TRX-11")
@pytest.mark.parametrize("method", ["move", "get"])
async def test_a_job_is_cancelled_in_the_middle(both: Both, method: str) -> None:
    source = Source(a_study(60), slow=0.2)
    async with serving(both, source):
        uid = str(source.study[0].StudyInstanceUID)
        job = await start(both, "PEER", uid, method=method)
        await asyncio.to_thread(source.begun.wait, 20)
        await until(partial(_completed, both, job), limit=LIMIT)
        await both.call("POST", f"/retrieve/jobs/{job}/cancel", 200)
        job_ended = await ended(both, job, "CANCELLED")
        assert 0 < job_ended["completed"] < 60
        assert await asyncio.to_thread(source.cancelled.wait, 10)


@pytest.mark.req("TRX-11")
async def test_a_killed_process_leaves_a_job_that_goes_on(both: Both) -> None:
    source = Source(a_study(20), slow=0.1)
    async with serving(both, source):
        uid = str(source.study[0].StudyInstanceUID)
        job = await start(both, "PEER", uid, method="get")
        await until(partial(_completed, both, job), limit=LIMIT)
        await both.desk.services.running["transmit"].kill()
        source.slow = 0.0
        await both.desk.services.start("transmit")
        done = await ended(both, job, "DONE", "FAILED")
        assert (done["state"], done["completed"], done["attempts"]) == ("DONE", 20, 2)
        assert len(await indexed(both, uid, 20)) == 20


@pytest.mark.req("TRX-11")
async def test_a_silent_node_is_given_up(lonely: Both) -> None:
    source = Source(a_study(2), silent=True)
    async with serving(lonely, source, answer_seconds=1):
        uid = str(source.study[0].StudyInstanceUID)
        job = await start(lonely, "PEER", uid, method="get")
        found = await ended(lonely, job, "RETRYING")
        assert found["reason"] == "AnswerTimeout"
        await lonely.call("POST", f"/retrieve/jobs/{job}/cancel", 200)
