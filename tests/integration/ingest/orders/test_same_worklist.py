"""The same worklist queries to Darkroom and to DCMTK's wlmscpfs, over the same entries."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from darkroom_common.dimse.users.find import MODALITY_WORKLIST_FIND
from darkroom_ingest.worklist.attributes import Json, attributes
from tests.integration.ingest.asking import HOST, answering
from tests.integration.ingest.orders.house import House
from tests.integration.ingest.test_worklist import a_query, an_entry, steps_of
from tests.integration.transmit.nodes import worklist_node
from tests.support.services import Services

ENTRIES: tuple[dict[str, Any], ...] = (
    {},
    {
        "scheduled_procedure_step_id": "S2",
        "scheduled_at": "2026-11-27T18:00:00",
        "modality": "MR",
        "scheduled_station_ae_titles": ("MR1",),
        "patient_name": "Other^Otto",
        "patient_id": "P2",
        "accession_number": "AC2",
    },
    {
        "scheduled_procedure_step_id": "S3",
        "scheduled_at": "2026-11-29T08:00:00",
        "accession_number": "AC3",
        "patient_sex": "F",
    },
    {
        "scheduled_procedure_step_id": "S4",
        "scheduled_at": "2026-12-24T00:00:00",
        "accession_number": "AC4",
        "patient_id": "P11",
        "patient_name": "Plan^Anna",
        "scheduled_performing_physician_name": "Doc^Dora",
    },
)
DATE, TIME = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"
STATION = "ScheduledStationAETitle"
QUERIES: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
    ({}, {}),
    ({"PatientID": "P1"}, {}),
    ({"PatientID": "P*"}, {}),
    ({"PatientID": "P?"}, {}),
    ({"PatientID": "p1"}, {}),
    ({"PatientID": "NONE"}, {}),
    ({"PatientName": "Planted^Anna"}, {}),
    ({"PatientName": "Plan*"}, {}),
    ({"PatientName": "*Anna"}, {}),
    ({"PatientName": "Pl?nted*"}, {}),
    ({"PatientName": "planted*"}, {}),
    ({"AccessionNumber": "AC2"}, {}),
    ({"AccessionNumber": "AC*"}, {}),
    ({"PatientID": "P1", "AccessionNumber": "AC3"}, {}),
    ({}, {"Modality": "CT"}),
    ({}, {"Modality": "US"}),
    ({}, {STATION: "MR1"}),
    ({}, {STATION: "CT1", "Modality": "CT"}),
    ({}, {STATION: "CT1", "Modality": "MR"}),
    ({}, {DATE: "20261127"}),
    ({}, {DATE: "20261127-20261129"}),
    ({}, {DATE: "-20261128"}),
    ({}, {DATE: "20261128-"}),
    ({}, {DATE: "20261127", TIME: "100000-110000"}),
    ({}, {DATE: "20261127-20261129", TIME: "100000-120000"}),
    ({}, {"ScheduledPerformingPhysicianName": "Doc^Dora"}),
    ({}, {"ScheduledPerformingPhysicianName": "Doc*"}),
    ({}, {"ScheduledProcedureStepID": "S2"}),
    ({"RequestedProcedureID": "AC3"}, {}),
    ({"PatientSex": "F"}, {}),
)
NO_WILDCARDS = "wlmscpfs matches patient ids by single values alone"
DIFFERENT: dict[int, tuple[list[str], str]] = {
    2: ([], NO_WILDCARDS),
    3: ([], NO_WILDCARDS),
    10: ([], "names may be matched without regard to case (PS3.4 section C.2.2.2.1), and are here"),
    27: (["S1", "S2", "S3", "S4"], "wlmscpfs does not match ScheduledProcedureStepID"),
}
"""By the number of the query: what wlmscpfs tells instead, and why."""


def a_file_of(told: Json) -> Dataset:
    """Return what wlmscpfs takes: it refuses a file with a sequence that has no items."""
    made = Dataset.from_json(told)
    for data_set in (made, made.ScheduledProcedureStepSequence[0]):
        for element in list(data_set):
            if element.VR == "SQ" and not element.value:
                del data_set[element.tag]
    return made


def found(port: int, title: str, query: Dataset) -> list[str]:
    ae = AE(ae_title="ASKER")
    ae.add_requested_context(MODALITY_WORKLIST_FIND)
    association = ae.associate(HOST, port, ae_title=title)
    assert association.is_established
    matches = []
    for status, match in association.send_c_find(query, MODALITY_WORKLIST_FIND):
        assert status.Status in {0, 0xFF00, 0xFF01}
        if match is not None:
            matches.append(match)
    association.release()
    return sorted(steps_of(matches))


@pytest.mark.req("ING-13")
async def test_the_same_queries_are_answered_the_same(
    house: House, services: Services, tmp_path: Path
) -> None:
    items = []
    for changes in ENTRIES:
        entry = an_entry(scheduled_procedure_step_description="Thorax ap", **changes)
        entry_id = await house.entries.add(entry, by="t")
        async with house.database.acquire() as db:
            row = await db.fetchrow("SELECT * FROM ingest.worklist WHERE id = $1", entry_id)
        kept = house.entries.opened(row)
        items.append(a_file_of(attributes(kept, kept.scheduled_station_ae_titles)))
    ours, theirs = {}, {}
    with worklist_node(tmp_path, items) as witness:
        async with answering(services, tmp_path) as asked:
            for number, (keys, step) in enumerate(QUERIES):
                query = a_query(step, **keys)
                ours[number] = await asyncio.to_thread(found, asked.port, "DARKROOM", query)
                theirs[number] = await asyncio.to_thread(found, witness, "RIS", query)
    expected = {number: DIFFERENT.get(number, (told, ""))[0] for number, told in ours.items()}
    different = {n: (QUERIES[n], theirs[n], expected[n]) for n in ours if theirs[n] != expected[n]}
    assert different == {}
