"""Patients: two who are one, a study that is another's, a study of one of its own (MET-06)."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.errors import invalid
from darkroom_api.http.parts import parts_of
from darkroom_api.http.typed import Day
from darkroom_api.jobs.accepted import Accepted, Together, accept
from darkroom_api.studies.editing import (
    ROUTES,
    VIEW,
    PersonName,
    conflict,
    edit_command,
    in_groups,
    known,
    require_one_patient,
)
from darkroom_api.studies.identity import study_meant
from darkroom_common.messages.commands import EditStudies
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.conflicts import PatientText, Words
from darkroom_common.specs.edits import Edit, PatientRef


class Merge(BaseModel):
    """Two patients who are one."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    source: PatientRef = Field(description="all of whose studies become the target's")
    target: PatientRef
    reason: Words = ""


class Move(BaseModel):
    """A study that is another patient's."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    exam_id: str = Field(min_length=1, max_length=64)
    target: PatientRef = Field(description="a patient whom the index knows")
    reason: Words = ""


class NewPatient(BaseModel):
    """A patient whom the index does not know."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    patient_id: Annotated[PatientText, Field(min_length=1)]
    issuer_of_patient_id: PatientText = ""
    patient_name: PersonName
    patient_birth_date: Day | None = None
    patient_sex: Literal["M", "F", "O", ""] = ""

    @field_validator("patient_name")
    @classmethod
    def _groups(cls, name: str) -> str:
        return in_groups(name)


class Split(BaseModel):
    """A study that is of a patient of its own."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    exam_id: str = Field(min_length=1, max_length=64)
    patient: NewPatient
    reason: Words = ""


async def _accepted(
    request: Request,
    response: Response,
    given: BaseModel,
    command: Callable[[], Awaitable[EditStudies]],
) -> Accepted:
    async def told(request: Request, db: Connection, job_id: str) -> None:
        phi, details = given.model_dump(mode="json"), {"job_id": job_id}
        action = Action.STUDY_UPDATE
        await record(db, request.scope, action, "patient", job_id, details=details, phi=phi)

    async def together() -> Together:
        return Together(await command(), told)

    return await accept(request, response, VIEW, given, together)


async def merge_patients(request: Request, response: Response, given: Merge) -> Accepted:
    """Make one patient of two: all studies of one become the other's."""

    async def command() -> EditStudies:
        if given.source.token_text == given.target.token_text:
            raise invalid("body.target", "They are the same patient already.")
        for name in ("source", "target"):
            await _require(request, name, getattr(given, name))
        edit = Edit(source=given.source, target=given.target, reason=given.reason)
        return edit_command(request, "merge", edit, None)

    return await _accepted(request, response, given, command)


async def move_study(request: Request, response: Response, given: Move) -> Accepted:
    """Give a study to another patient."""

    async def command() -> EditStudies:
        uid = await _one_study(request, given.exam_id)
        await _require(request, "target", given.target)
        edit = Edit(target=given.target, reason=given.reason)
        return edit_command(request, "move", edit, uid)

    return await _accepted(request, response, given, command)


async def split_study(request: Request, response: Response, given: Split) -> Accepted:
    """Give a study to a patient of its own."""

    async def command() -> EditStudies:
        uid = await _one_study(request, given.exam_id)
        new, born = given.patient, given.patient.patient_birth_date
        ref = PatientRef(patient_id=new.patient_id, issuer_of_patient_id=new.issuer_of_patient_id)
        if await known(parts_of(request.scope), ref):
            raise conflict("There is a patient of this id: move the study instead.")
        values = {
            "PatientID": ref.patient_id,
            "IssuerOfPatientID": ref.issuer_of_patient_id,
            "PatientName": new.patient_name,
            "PatientBirthDate": "" if born is None else born.isoformat().replace("-", ""),
            "PatientSex": new.patient_sex,
        }
        edit = Edit.model_validate({"values": values, "reason": given.reason})
        return edit_command(request, "split", edit, uid)

    return await _accepted(request, response, given, command)


async def _one_study(request: Request, exam_id: str) -> str:
    uid = (await study_meant(request, exam_id)).study_instance_uid
    await require_one_patient(parts_of(request.scope), uid)
    return uid


async def _require(request: Request, name: str, patient: PatientRef) -> None:
    if not await known(parts_of(request.scope), patient):
        raise invalid(f"body.{name}", "The index knows no such patient.")


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path, endpoint in (
        ("/api/v1/patients/merge", merge_patients),
        ("/api/v1/patients/move", move_study),
        ("/api/v1/patients/split", split_study),
    ):
        ROUTES.accept(app, endpoint, path)
