"""The modality worklist and MPPS: what modalities are told, and what they tell."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from darkroom_common.dimse.requestor import Peer, associate
from darkroom_common.dimse.users.find import MODALITY_WORKLIST_FIND
from darkroom_common.dimse.users.normalized import NormalizedUser
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.data_set import SYNTAXES
from darkroom_common.messages.procedure_steps import ProcedureStepChanged
from darkroom_common.messages.registry import decode
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.postgres.pool import Database, open_database
from darkroom_common.resources.resource import AlreadyThere, NotThere, Stale
from darkroom_common.seal import Seal
from darkroom_common.specs.worklist.entries import WorklistEntry
from darkroom_ingest.worklist.entries import Entries
from darkroom_ingest.worklist.steps import PERFORMED_STEP, RETRIEVE
from tests.integration.ingest.asking import HOST, Asked, answering
from tests.support.builders import new_uid
from tests.support.services import Services, role_url

Found = list[Dataset]


@pytest.fixture
async def asked(services: Services, tmp_path: Path) -> AsyncIterator[Asked]:
    async with answering(services, tmp_path) as made:
        yield made


@pytest.fixture
async def database(services: Services, asked: Asked) -> AsyncIterator[Database]:
    assert asked.port
    url = role_url(services.superuser_url, "darkroom_ingest")
    async with open_database(url, service="test") as opened:
        async with opened.acquire() as db:
            await db.execute("DELETE FROM ingest.worklist")
            await db.execute("DELETE FROM ingest.performed_step")
            await db.execute("DELETE FROM ingest.outbox")
        yield opened


@pytest.fixture
def entries(services: Services, database: Database) -> Entries:
    keys = PhiKeys.parse(services.secrets["PHI_KEYS"])
    blind = BlindIndex(decode_key(services.secrets["BLIND_INDEX_KEY"], setting="BLIND_INDEX_KEY"))
    return Entries(database, Seal(keys), blind)


def an_entry(**changes: Any) -> WorklistEntry:
    given: dict[str, Any] = {
        "patient_name": "Planted^Anna",
        "patient_id": "P1",
        "accession_number": "AC1",
        "scheduled_procedure_step_id": "S1",
        "scheduled_at": "2026-11-27T10:30:00",
        "modality": "CT",
        "scheduled_station_ae_titles": ("CT1",),
        "requested_procedure_description": "Thorax",
    }
    return WorklistEntry.model_validate(given | changes)


def opened(asked: Asked, ae_title: str = "CT1") -> Association:
    ae = AE(ae_title=ae_title)
    for sop_class in (MODALITY_WORKLIST_FIND, PERFORMED_STEP, RETRIEVE):
        ae.add_requested_context(sop_class)
    association = ae.associate(HOST, asked.port, ae_title="DARKROOM")
    assert association.is_established
    return association


def a_query(step: dict[str, str] | None = None, **keys: str) -> Dataset:
    found = Dataset()
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID"):
        setattr(found, keyword, keys.pop(keyword, ""))
    for keyword, value in keys.items():
        setattr(found, keyword, value)
    item = Dataset()
    for keyword in ("ScheduledProcedureStepID", "ScheduledStationAETitle", "Modality"):
        setattr(item, keyword, "")
    item.ScheduledProcedureStepStartDate = ""
    item.ScheduledProcedureStepStartTime = ""
    for keyword, value in (step or {}).items():
        setattr(item, keyword, value)
    found.ScheduledProcedureStepSequence = [item]
    return found


def listed(asked: Asked, query: Dataset, ae_title: str = "ASKER") -> tuple[int, Found]:
    association = opened(asked, ae_title)
    found: Found = []
    try:
        for status, match in association.send_c_find(query, MODALITY_WORKLIST_FIND):
            if match is None:
                return status.Status, found
            found.append(match)
    finally:
        association.release()
    raise AssertionError("no last answer")


def steps_of(found: Found) -> list[str]:
    return [one.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID for one in found]


async def several(entries: Entries) -> None:
    await entries.add(an_entry(), by="t")
    second = an_entry(
        scheduled_procedure_step_id="S2",
        scheduled_at="2026-11-27T18:00:00",
        modality="MR",
        scheduled_station_ae_titles=(),
        patient_name="Müller^Jörg",
        patient_id="P2",
        accession_number="AC2",
    )
    await entries.add(second, by="t")
    third = an_entry(
        scheduled_procedure_step_id="S3",
        scheduled_at="2026-11-29T08:00:00",
        scheduled_station_ae_titles=("CT1", "CT2"),
        accession_number="AC3",
    )
    await entries.add(third, by="t")
    await entries.add(an_entry(scheduled_procedure_step_id="S4", state="COMPLETED"), by="t")


QUERIES: tuple[tuple[dict[str, str], dict[str, str], list[str]], ...] = (
    ({}, {}, ["S1", "S2", "S3"]),
    ({"PatientID": "P1"}, {}, ["S1", "S3"]),
    ({"PatientID": "P*"}, {}, ["S1", "S2", "S3"]),
    ({"PatientName": "planted*"}, {}, ["S1", "S3"]),
    ({"PatientName": "MULLER^J?rg"}, {}, ["S2"]),
    ({"PatientName": "Planted^Anna^*"}, {}, ["S1", "S3"]),
    ({"AccessionNumber": "AC2"}, {}, ["S2"]),
    ({"AccessionNumber": "AC9"}, {}, []),
    ({}, {"Modality": "CT"}, ["S1", "S3"]),
    ({}, {"ScheduledStationAETitle": "CT2"}, ["S2", "S3"]),
    ({}, {"ScheduledStationAETitle": "CT1", "Modality": "CT"}, ["S1", "S3"]),
    ({}, {"ScheduledProcedureStepStartDate": "20261127"}, ["S1", "S2"]),
    ({}, {"ScheduledProcedureStepStartDate": "20261128-"}, ["S3"]),
    ({}, {"ScheduledProcedureStepStartDate": "-20261127"}, ["S1", "S2"]),
    ({}, {"ScheduledProcedureStepStartTime": "0700-1100"}, ["S1", "S3"]),
    (
        {},
        {
            "ScheduledProcedureStepStartDate": "20261127-20261129",
            "ScheduledProcedureStepStartTime": "1700-0800",
        },
        ["S2", "S3"],
    ),
    ({}, {"ScheduledProcedureStepID": "S?"}, ["S1", "S2", "S3"]),
    ({"RequestedProcedureDescription": "Thor*"}, {}, ["S1", "S2", "S3"]),
    ({"RequestedProcedureDescription": "thor*"}, {}, []),
)


async def test_entries_are_found_as_they_are_asked_for(asked: Asked, entries: Entries) -> None:
    await several(entries)
    for keys, step, expected in QUERIES:
        status, found = await asyncio.to_thread(listed, asked, a_query(step, **keys))
        assert (status, steps_of(found)) == (0, expected), (keys, step)


async def test_an_answer_has_what_was_asked_for_and_nothing_else(
    asked: Asked, entries: Entries
) -> None:
    await several(entries)
    query = a_query({"ScheduledStationAETitle": "CT9"}, PatientID="P2", MedicalAlerts="")
    _, (found,) = await asyncio.to_thread(listed, asked, query)
    assert str(found.PatientName) == "Müller^Jörg"
    assert found.MedicalAlerts in ("", None)
    assert "RequestedProcedureID" not in found
    step = found.ScheduledProcedureStepSequence[0]
    assert step.ScheduledStationAETitle == "CT9"  # any station: the one that asks
    assert (step.ScheduledProcedureStepStartDate, step.Modality) == ("20261127", "MR")
    assert found.StudyInstanceUID.startswith("2.25.")


async def test_a_node_learns_what_the_list_of_senders_lets_it(
    asked: Asked, entries: Entries
) -> None:
    await several(entries)
    assert (await asyncio.to_thread(listed, asked, a_query(), "NOBODY"))[0] == 0x0124
    status, found = await asyncio.to_thread(listed, asked, a_query(), "OWN")
    assert (status, steps_of(found)) == (0, ["S2"])  # nothing is scheduled for it but this


async def test_a_bad_value_is_told(asked: Asked, entries: Entries) -> None:
    await several(entries)
    query = a_query({"ScheduledProcedureStepStartDate": "20261301"})
    assert (await asyncio.to_thread(listed, asked, query))[0] == 0xA900


async def test_findscu_lists_the_day(asked: Asked, entries: Entries, tmp_path: Path) -> None:
    await several(entries)
    query = tmp_path / "q.dcm"
    a_query({"ScheduledProcedureStepStartDate": "20261127"}).save_as(
        query, implicit_vr=False, little_endian=True, enforce_file_format=False
    )
    options = ["-W", "-aet", "ASKER", "-aec", "DARKROOM", "-X", "-od", str(tmp_path)]
    finder = await asyncio.create_subprocess_exec(
        "/usr/bin/findscu", *options, HOST, str(asked.port), str(query)
    )
    assert await finder.wait() == 0
    assert len(list(tmp_path.glob("rsp*.dcm"))) == 2


async def test_the_worklist_keeps_identities(entries: Entries, database: Database) -> None:
    first = await entries.add(an_entry(), by="t")
    assert await entries.add(an_entry(), by="t", entry_id=first) == first  # asked for again
    with pytest.raises(AlreadyThere):
        await entries.add(an_entry(), by="t")
    await entries.add(an_entry(scheduled_procedure_step_id="S2"), by="t")
    async with database.acquire() as db:
        rows = await db.fetch("SELECT study_instance_uid, sealed FROM ingest.worklist")
    assert len({row["study_instance_uid"] for row in rows}) == 1  # one accession, one study
    assert not any("Planted" in row["sealed"] for row in rows)
    await entries.change(first, an_entry(modality="MR"), by="t", version=1)
    with pytest.raises(Stale):
        await entries.change(first, an_entry(), by="t", version=1)
    with pytest.raises(AlreadyThere):
        await entries.change(first, an_entry(scheduled_procedure_step_id="S2"), by="t")
    async with database.transaction() as db:
        changed = an_entry(modality="US")
        assert await entries.follow(db, changed, by="t", source="hl7", new=False) == first
    await entries.remove(first)
    with pytest.raises(NotThere):
        await entries.remove(first)


def a_step(study: str, **changes: Any) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = study
    item.AccessionNumber = "AC1"
    item.ScheduledProcedureStepID = "S1"
    found = Dataset()
    found.ScheduledStepAttributesSequence = [item]
    found.PatientName, found.PatientID = "Planted^Anna", "P1"
    found.PerformedProcedureStepID = "PPS1"
    found.PerformedStationAETitle = "CT1"
    found.PerformedProcedureStepStartDate = "20261127"
    found.PerformedProcedureStepStartTime = "103500"
    found.PerformedProcedureStepStatus = "IN PROGRESS"
    found.Modality = "CT"
    for keyword, value in changes.items():
        if value is None:
            delattr(found, keyword)
        else:
            setattr(found, keyword, value)
    return found


def the_end(status: str) -> Dataset:
    found = Dataset()
    found.PerformedProcedureStepStatus = status
    found.PerformedProcedureStepEndDate = "20261127"
    found.PerformedProcedureStepEndTime = "110000"
    if status == "COMPLETED":
        series = Dataset()
        series.SeriesInstanceUID = new_uid()
        series.ProtocolName = "Thorax"
        found.PerformedSeriesSequence = [series]
    return found


@contextmanager
def telling(asked: Asked, ae_title: str = "OWN") -> Iterator[NormalizedUser]:
    peer = Peer(HOST, asked.port, "DARKROOM", ae_title)
    proposals = [
        Proposal(sop_class, (syntax,))
        for sop_class in (PERFORMED_STEP, RETRIEVE)
        for syntax in SYNTAXES
    ]
    association = associate(peer, proposals)
    yield NormalizedUser(association, lambda _: None)
    association.release()


def create(user: NormalizedUser, step: Dataset, uid: str = "") -> int:
    return user.create(PERFORMED_STEP, PERFORMED_STEP, step, uid).status


def change(user: NormalizedUser, uid: str, step: Dataset) -> int:
    return user.set(PERFORMED_STEP, PERFORMED_STEP, uid, step).status


async def state_of(database: Database) -> tuple[str, list[str]]:
    async with database.acquire() as db:
        state = await db.fetchval("SELECT state FROM ingest.worklist")
        rows = await db.fetch("SELECT type, body FROM ingest.outbox ORDER BY id")
    told = [decode(row["type"], row["body"]) for row in rows]
    return state, [one.state for one in told if isinstance(one, ProcedureStepChanged)]


@pytest.mark.parametrize("end", ["COMPLETED", "DISCONTINUED"])
async def test_a_step_is_performed(
    asked: Asked, entries: Entries, database: Database, end: str
) -> None:
    await entries.add(an_entry(), by="t")
    uid = new_uid()

    def begin() -> list[int]:
        with telling(asked) as user:
            return [create(user, a_step("1.2.3"), uid) for _ in range(2)]

    assert await asyncio.to_thread(begin) == [0, 0x0111]
    assert await state_of(database) == ("STARTED", ["IN PROGRESS"])

    def finish() -> list[int]:
        with telling(asked, "NOBODY") as other:
            found = [change(other, uid, the_end(end))]
        with telling(asked) as user:
            changed = the_end(end)
            changed.PatientID = "P9"
            return [*found, *(change(user, uid, one) for one in (changed, the_end(end)))]

    assert await asyncio.to_thread(finish) == [0x0124, 0x0107, 0x0110]
    assert await state_of(database) == (end, ["IN PROGRESS", end])

    def look() -> tuple[Dataset, int]:
        tags = (0x00100020, 0x00400252)
        with telling(asked, "ASKER") as user:
            found = user.get(RETRIEVE, PERFORMED_STEP, uid, tags)
            assert found.status == 0
            return found.data_set, user.get(RETRIEVE, RETRIEVE, new_uid(), tags).status

    found, missing = await asyncio.to_thread(look)
    assert (found.PatientID, found.PerformedProcedureStepStatus) == ("P1", end)
    assert (len(found), missing) == (2, 0x0112)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"PerformedProcedureStepStatus": "COMPLETED"}, 0x0106),
        ({"PerformedProcedureStepStatus": None}, 0x0120),
        ({"Modality": None}, 0x0120),
        ({"PerformedStationAETitle": ""}, 0x0121),
        ({"ScheduledStepAttributesSequence": []}, 0x0121),
        ({"ScheduledStepAttributesSequence": [Dataset()]}, 0x0120),
    ],
)
async def test_a_step_that_is_not_whole_is_refused(
    asked: Asked, database: Database, changes: dict[str, Any], expected: int
) -> None:
    def begin() -> int:
        with telling(asked) as user:
            return create(user, a_step("1.2.3", **changes))

    assert await asyncio.to_thread(begin) == expected
    async with database.acquire() as db:
        assert await db.fetchval("SELECT count(*) FROM ingest.performed_step") == 0


async def test_a_completed_step_names_its_series(asked: Asked, entries: Entries) -> None:
    await entries.add(an_entry(), by="t")

    def both() -> tuple[int, int]:
        uid = new_uid()
        with telling(asked) as user:
            create(user, a_step("1.2.3"), uid)
            end = the_end("COMPLETED")
            del end.PerformedSeriesSequence
            return change(user, uid, end), change(user, uid, the_end("COMPLETED"))

    assert await asyncio.to_thread(both) == (0x0120, 0)


async def test_a_step_without_a_uid_gets_one(asked: Asked, database: Database) -> None:
    def begin() -> None:
        association = opened(asked, "OWN")
        status, _ = association.send_n_create(a_step("1.2.3"), PERFORMED_STEP)
        assert status.Status == 0
        association.release()

    await asyncio.to_thread(begin)
    async with database.acquire() as db:
        uid = await db.fetchval("SELECT sop_instance_uid FROM ingest.performed_step")
    assert uid.startswith("2.25.")
