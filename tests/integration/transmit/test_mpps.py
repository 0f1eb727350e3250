"""Performed procedure steps by REST, told to a node that keeps them as PS3.4 F.7 says (TRX-10)."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event

from darkroom_local.engines.ports import free_port
from tests.integration.transmit.nodes import MPPS, scripted
from tests.integration.transmit.test_remote_query import add, logs
from tests.integration.transmit.test_rest import Both, both_of
from tests.support.builders import new_uid
from tests.support.services import Services

STEP = {
    "remote": "PEER",
    "modality": "CT",
    "performed_procedure_step_id": "P1",
    "study_instance_uid": "1.2.826.1",
    "patient_name": "Planted^Müller",
    "patient_id": "PLANTED-1",
    "patient_birth_date": "1970-01-02",
    "patient_sex": "F",
    "accession_number": "PLANTEDA",
    "scheduled_procedure_step_id": "S1",
}
TYPE_1_OR_2 = {
    "ScheduledStepAttributesSequence",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "ReferencedPatientSequence",
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedStationName",
    "PerformedLocation",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepStatus",
    "PerformedProcedureStepDescription",
    "PerformedProcedureTypeDescription",
    "ProcedureCodeSequence",
    "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime",
    "Modality",
    "StudyID",
    "PerformedProtocolCodeSequence",
    "PerformedSeriesSequence",
}


@dataclass
class Manager:
    """Keeps steps, refuses what PS3.4 F.7.2.2.2 forbids, and whatever a test wants."""

    refuse: list[int] = field(default_factory=list)
    lose: int = 0  # answers
    steps: dict[str, Dataset] = field(default_factory=dict)

    def on_create(self, event: Event) -> Any:
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        if self.refuse:
            return self._refused(), None
        if uid in self.steps:
            return 0x0111, None
        self.steps[uid] = event.attribute_list
        if self.lose:
            self.lose -= 1
            event.assoc.abort()
        return 0x0000, event.attribute_list

    def _refused(self) -> Dataset:
        status = Dataset()
        status.Status = self.refuse.pop(0)
        status.ErrorComment = "Planted comment"
        return status

    def on_set(self, event: Event) -> Any:
        request: Any = event.request
        if self.refuse:
            return self._refused(), None
        step = self.steps.get(str(request.RequestedSOPInstanceUID))
        if step is None:
            return 0x0112, None
        if step.PerformedProcedureStepStatus != "IN PROGRESS":
            return 0x0110, None
        step.update(event.modification_list)
        return 0x0000, step


@contextmanager
def managing(manager: Manager) -> Iterator[int]:
    handlers: Any = [(evt.EVT_N_CREATE, manager.on_create), (evt.EVT_N_SET, manager.on_set)]
    with scripted([MPPS], handlers) as port:
        yield port


@pytest.fixture
async def both(services: Services) -> AsyncIterator[Both]:
    async with both_of(services) as made:
        await services.start("transmit")
        yield made


def completed(**changes: Any) -> dict[str, Any]:
    series = {"series_instance_uid": "1.2.826.2", "protocol_name": "THORAX", **changes}
    return {"status": "COMPLETED", "series": [series], "ended_at": "2026-03-01T11:30:00"}


@pytest.mark.req("TRX-10")
async def test_a_step_begins_goes_on_and_is_completed(both: Both) -> None:
    call = both.call
    study = await both.desk.study(3)
    manager = Manager()
    with managing(manager) as port:
        await add(both, "PEER", port)
        given = {**STEP, "study_instance_uid": study.uid, "started_at": "2026-03-01T10:15:00"}
        made = await call("POST", "/mpps", 201, json=given)
        uid = made["sop_instance_uid"]
        assert made["state"] == "IN PROGRESS"
        step = manager.steps[uid]
        assert {element.keyword for element in step} >= TYPE_1_OR_2
        assert step.PerformedProcedureStepStatus == "IN PROGRESS"
        assert (step.PerformedProcedureStepStartDate, step.PerformedProcedureStepStartTime) == (
            "20260301",
            "101500",
        )
        assert step.PerformedStationAETitle == "DARKROOM"
        assert str(step.PatientName) == "Planted^Müller"
        scheduled = step.ScheduledStepAttributesSequence[0]
        assert scheduled.StudyInstanceUID == study.uid
        assert scheduled.AccessionNumber == "PLANTEDA"
        again = {**given, "sop_instance_uid": uid}
        await call("POST", "/mpps", 200, json=again)
        changed = {"status": "IN PROGRESS", "description": "half"}
        await call("PATCH", f"/mpps/{uid}", 200, json=changed)
        assert manager.steps[uid].PerformedProcedureStepDescription == "half"
        # The images of a series that names none are those that are stored here.
        ended = completed(series_instance_uid=study.series, operators_name="Planted^Operator")
        done = await call("PUT", f"/mpps/{uid}", 200, json=ended)
        assert done["state"] == "COMPLETED"
        step = manager.steps[uid]
        assert step.PerformedProcedureStepStatus == "COMPLETED"
        assert step.PerformedProcedureStepEndTime == "113000"
        series = step.PerformedSeriesSequence[0]
        named = {str(one.ReferencedSOPInstanceUID) for one in series.ReferencedImageSequence}
        assert named == set(study.digests)
        for change in (ended, {"status": "DISCONTINUED"}, {"status": "IN PROGRESS"}):
            await call("PATCH", f"/mpps/{uid}", 409, json=change)
        assert manager.steps[uid].PerformedProcedureStepStatus == "COMPLETED"
        shown = await call("GET", f"/mpps/{uid}", 200)
        assert shown["attributes"]["00100020"]["Value"] == ["PLANTED-1"]
        assert shown["attributes"]["00400252"]["Value"] == ["COMPLETED"]
        assert [one["sop_instance_uid"] for one in (await call("GET", "/mpps", 200))["data"]] == [
            uid
        ]
    rows = await both.desk.prepared.fetch("SELECT * FROM transmit.procedure_step")
    assert "PLANTED" not in str(rows)
    assert "lanted" not in logs(both)


@pytest.mark.req("TRX-10")
async def test_a_step_is_discontinued_with_a_reason(both: Both) -> None:
    manager = Manager()
    with managing(manager) as port:
        await add(both, "PEER", port)
        once = {"json": STEP, "headers": {"idempotency-key": "once"}}
        uid = (await both.call("POST", "/mpps", 201, **once))["sop_instance_uid"]
        assert (await both.call("POST", "/mpps", 200, **once))["sop_instance_uid"] == uid
        reason = {"code": "110514", "meaning": "Incorrect worklist entry selected"}
        given = {"status": "DISCONTINUED", "discontinuation_reason": reason}
        assert (await both.call("PATCH", f"/mpps/{uid}", 200, json=given))["state"] == (
            "DISCONTINUED"
        )
        step = manager.steps[uid]
        code = step.PerformedProcedureStepDiscontinuationReasonCodeSequence[0]
        assert code.CodeValue == "110514"
        assert step.PerformedProcedureStepEndDate
        await both.call("PATCH", f"/mpps/{uid}", 409, json=completed())


@pytest.mark.req("TRX-10")
async def test_what_the_other_node_refuses_is_told_and_can_be_tried_again(both: Both) -> None:
    call = both.call
    manager = Manager()
    with managing(manager) as port:
        await add(both, "PEER", port)
        uid = new_uid()
        given = {**STEP, "sop_instance_uid": uid}
        for status in (0x0110, 0x0120, 0x0106, 0x0111):
            manager.refuse.append(status)
            told = await call("POST", "/mpps", 502, json=given)
            assert told["dicom_status"] == f"{status:04X}"
            assert "lanted" not in json.dumps(told)
            assert (await call("GET", f"/mpps/{uid}", 200))["state"] == "REFUSED"
        assert not manager.steps
        await call("PATCH", f"/mpps/{uid}", 409, json=completed())
        await call("POST", "/mpps", 201, json=given)
        manager.refuse.append(0x0110)
        told = await call("PATCH", f"/mpps/{uid}", 502, json=completed())
        assert told["dicom_status"] == "0110"
        assert (await call("GET", f"/mpps/{uid}", 200))["state"] == "IN PROGRESS"
        await call("PATCH", f"/mpps/{uid}", 200, json=completed())


@pytest.mark.req("TRX-10")
async def test_a_lost_answer_is_made_good_by_asking_again(both: Both) -> None:
    """The node has the step and says duplicate: it is in progress after all."""
    call = both.call
    manager = Manager(lose=1)
    with managing(manager) as port:
        await add(both, "PEER", port)
        given = {**STEP, "sop_instance_uid": new_uid()}
        await call("POST", "/mpps", 502, json=given)
        uid = given["sop_instance_uid"]
        assert (await call("GET", f"/mpps/{uid}", 200))["state"] == "CREATING"
        await call("POST", "/mpps", 201, json=given)
        await call("PATCH", f"/mpps/{uid}", 200, json=completed())
        assert list(manager.steps) == [uid]


async def test_what_makes_no_sense_is_refused(both: Both) -> None:
    call = both.call
    await call("POST", "/mpps", 404, json=STEP)
    await add(both, "PEER", free_port())
    for wrong in (
        {"modality": ""},
        {"performed_procedure_step_id": None},
        {"patient_sex": "X"},
        {"patient_birth_date": "yesterday"},
        {"accession_number": "x" * 17},
        {"unknown": 1},
    ):
        told = await call("POST", "/mpps", 422, json={**STEP, **wrong})
        assert "lanted" not in json.dumps(told)
    await call("POST", "/mpps", 502, json=STEP)
    await call("GET", "/mpps/1.2.3", 404)
    await call("PATCH", "/mpps/1.2.3", 404, json=completed())
    await call("PATCH", "/mpps/1.2.3", 422, json={"status": "COMPLETED"})
    await call("PATCH", "/mpps/1.2.3", 422, json={"status": "DONE"})
    assert (await both.api.anonymous.post("/api/v1/mpps", json=STEP)).status_code == 401
