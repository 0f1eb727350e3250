"""Editing: what is ours changes at once, what objects say becomes a job of metadata (MET-06)."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, field_validator
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, invalid
from darkroom_api.http.etags import ETAG, IfMatch, answer, names_version
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JobsQuery
from darkroom_api.http.parts import Parts, parts_of
from darkroom_api.http.typed import Day
from darkroom_api.jobs.accepted import Accepted, JobView, Together, accept
from darkroom_api.jobs.once import IDEMPOTENCY_KEY, require_authority
from darkroom_api.jobs.routes import JobRoutes
from darkroom_api.studies.detail import PATH, ExamId, current_version, detail
from darkroom_api.studies.examinations import Examinations, ExamStatus, PhysicianName
from darkroom_api.studies.identity import study_meant
from darkroom_api.studies.shown import StudyDetail
from darkroom_common.index.conflicts import patient_is_known
from darkroom_common.index.edits import EDITS, edition_of
from darkroom_common.index.identity import StudyName
from darkroom_common.messages.base import Uid, new_message_id
from darkroom_common.messages.commands import EditStudies
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.base import TimeOfDay
from darkroom_common.specs.conflicts import Words
from darkroom_common.specs.edits import PATIENT, PURPOSE, Edit, EditAction, PatientRef

_PRINTED: Final = r"^[^\x00-\x1f\x7f\\]*$"
_GROUP: Final = r"[^\x00-\x1f\x7f\\=^]*(\^[^\x00-\x1f\x7f\\=^]*){0,4}"
Text16 = Annotated[str, StringConstraints(max_length=16, strip_whitespace=True, pattern=_PRINTED)]
Text64 = Annotated[str, StringConstraints(max_length=64, strip_whitespace=True, pattern=_PRINTED)]
PersonName = Annotated[
    str,
    StringConstraints(
        max_length=194, strip_whitespace=True, pattern=rf"^{_GROUP}(={_GROUP}){{0,2}}$"
    ),
]
"""A PN value (PS3.5 section 6.2): up to three groups of five components, each of 64 characters."""
_GROUP_LENGTH: Final = 64
KEYWORDS: Final[Mapping[str, str]] = {
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "accession_number": "AccessionNumber",
    "study_id": "StudyID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "description": "StudyDescription",
    "referring_physician": "ReferringPhysicianName",
}
"""Fields of `StudyPatch` that objects say, by the keyword of the attribute."""
State = Literal["ACCEPTED", "PENDING", "EDITING", "RETRYING", "DONE", "FAILED", "CANCELLED"]
VIEW: Final = JobView(
    name="edit",
    path="/api/v1/study-edits",
    table="index.edit",
    owned=EDITS,
    shown="a.job_id, a.command ->> 'action', a.command ->> 'study_instance_uid', a.state,"
    " a.reason, 0, 0, 0, a.requested_by, NULL, a.created_at, a.updated_at, a.finished_at",
)


def in_groups(name: str) -> str:
    """Return a name whose groups are not too long.

    Raises:
        ValueError: one is.
    """
    if any(len(group) > _GROUP_LENGTH for group in name.split("=")):
        raise ValueError(f"A group of a name has at most {_GROUP_LENGTH} characters.")
    return name


class StudyPatch(BaseModel):
    """What is to change. What is left out stays; an empty text empties an attribute."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    exam_status: ExamStatus = "pending"
    physician_name: PhysicianName = ""
    patient_name: PersonName = ""
    patient_id: Annotated[Text64, Field(min_length=1)] = ""
    issuer_of_patient_id: Text64 = ""
    patient_birth_date: Day | Literal[""] = ""
    patient_sex: Literal["M", "F", "O", ""] = ""
    accession_number: Text16 = ""
    study_id: Text16 = ""
    study_date: Day | Literal[""] = ""
    study_time: TimeOfDay | Literal[""] = ""
    description: Text64 = ""
    referring_physician: PersonName = ""
    whole_patient: StrictBool = Field(
        default=False,
        description="change what is the patient's in all studies of the patient, not in this alone",
    )
    reason: Words = Field(default="", description="for whoever asks later")

    @field_validator("patient_name", "referring_physician")
    @classmethod
    def _groups(cls, name: str) -> str:
        return in_groups(name)

    def values(self) -> dict[str, str]:
        """Return what objects are to say, as DICOM writes it, by keyword."""
        found: dict[str, str] = {}
        for name in self.model_fields_set & KEYWORDS.keys():
            value = getattr(self, name)
            if isinstance(value, dt.date):
                value = value.isoformat().replace("-", "")
            elif isinstance(value, dt.time):
                value = value.strftime("%H%M%S")
            found[KEYWORDS[name]] = value
        return found


class EditJob(BaseModel):
    """An edit, and how far it is carried out."""

    job_id: str
    action: EditAction
    study_instance_uid: str | None = Field(description="null: all studies of a patient")
    state: State
    reason: str = Field(description="why it has failed; empty when all is well")
    studies: int = Field(description="that it has changed so far")
    instances: int
    attempts: int
    requested_by: str
    next_at: dt.datetime | None = Field(description="when it is tried next")
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class EditSearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None
    study_instance_uid: Uid | None = None


@dataclass(frozen=True)
class _Own:
    """What is ours of a change, and what is told of all of it."""

    given: StudyPatch
    if_match: str
    meant: StudyName
    fields: list[dict[str, str]]

    async def do(self, request: Request, db: Connection, job_id: str = "") -> None:
        """Change it, in the transaction that keeps the job for the rest, if there is one.

        Raises:
            ApiError: 412, somebody has been quicker.
        """
        parts, given, uid = parts_of(request.scope), self.given, self.meant.study_instance_uid
        exams = Examinations(parts.keys, parts.blind)
        await require_version(parts, db, self.meant, self.if_match)
        by = principal_of(request.scope).username[:64]
        changed = {one["field"] for one in self.fields}
        said: dict[str, Any] = {"by": by, "reason": given.reason}
        if "exam_status" in changed:
            await exams.set_status(db, [uid], given.exam_status, **said)
        if "physician_name" in changed:
            await exams.assign(db, [uid], given.physician_name, **said)
        if job_id:
            await exams.touch(db, uid)
        details = {"fields": sorted(changed), "job_id": job_id}
        phi = {"changes": self.fields, "reason": given.reason}
        await record(db, request.scope, Action.STUDY_UPDATE, "study", uid, details=details, phi=phi)


async def require_version(parts: Parts, db: Connection, meant: StudyName, if_match: str) -> None:
    """Let nobody else change a study until the transaction ends, if it is as the client saw it.

    Raises:
        ApiError: 412.
    """
    await Examinations(parts.keys, parts.blind).lock(db, [meant])
    if not names_version(if_match, await current_version(parts, db, meant.study_instance_uid)):
        raise stale()


def stale() -> ApiError:
    """Return the answer to who has not seen what somebody else has changed."""
    return ApiError(412, Code.CHANGED_MEANWHILE, "This study has been changed meanwhile.")


def version_needed() -> ApiError:
    """Return the answer to who does not say which version they have seen."""
    return ApiError(
        428, Code.INVALID_REQUEST, "Say by If-Match which version of the study is to be changed."
    )


async def change_study(
    request: Request, exam_id: ExamId, given: StudyPatch, if_match: IfMatch = None
) -> Response:
    """Change what is said of a study.

    What only Darkroom says of it (work status, assigned physician) is changed when this answers
    200. What its objects say is changed by a job (202): all of it at once, originals are kept.
    """
    if if_match is None:
        raise version_needed()
    parts = parts_of(request.scope)
    meant = await study_meant(request, exam_id)
    shown, version = await detail(parts, meant.study_instance_uid)
    fields = _differences(given, shown)
    own = _Own(given, if_match, meant, fields)
    edited = {one["field"] for one in fields} & KEYWORDS.keys()
    if edited:
        response = Response(media_type="application/json", status_code=202)
        command = partial(_command, request, own, {KEYWORDS[name] for name in edited})
        accepted = await accept(request, response, VIEW, given, command)
        response.body = accepted.model_dump_json().encode()
        response.headers["content-length"] = str(len(response.body))
        return response
    if not names_version(if_match, version):
        raise stale()
    if fields:
        async with parts.database.transaction() as db:
            await require_authority(db, request)
            await own.do(request, db)
        shown, version = await detail(parts, meant.study_instance_uid)
    return answer(shown.model_dump(), version=version)


def _differences(given: StudyPatch, shown: StudyDetail) -> list[dict[str, str]]:
    found = []
    for name in sorted(given.model_fields_set - {"reason", "whole_patient"}):
        old, new = _text(getattr(shown, name)), _text(getattr(given, name))
        if name == "patient_birth_date":
            new = new.replace("-", "")
        if old != new:
            found.append({"field": name, "old": old, "new": new})
    return found


def _text(value: object) -> str:
    return "" if value is None else str(value)


async def _command(request: Request, own: _Own, keywords: set[str]) -> Together:
    """Return the command, unless metadata would refuse it."""
    parts, given, uid = parts_of(request.scope), own.given, own.meant.study_instance_uid
    values = {name: text for name, text in given.values().items() if name in keywords}
    await require_one_patient(parts, uid)
    source: PatientRef | None = None
    shown, _ = await detail(parts, uid)
    was = PatientRef.model_construct(
        patient_id=shown.patient_id, issuer_of_patient_id=shown.issuer_of_patient_id
    )
    if values.keys() & {"PatientID", "IssuerOfPatientID"}:
        new = PatientRef(
            patient_id=values.get("PatientID", was.patient_id),
            issuer_of_patient_id=values.get("IssuerOfPatientID", was.issuer_of_patient_id),
        )
        if await known(parts, new):
            raise conflict("There is a patient of this id: move the study, or merge the patients.")
    if given.whole_patient:
        if values.keys() - PATIENT:
            raise invalid("body.whole_patient", "Only what is the patient's is of all studies.")
        if not was.patient_id:
            raise invalid("body.whole_patient", "The study does not say whose it is.")
        source = was
    edit = Edit.model_validate({"values": values, "source": source, "reason": given.reason})
    return Together(edit_command(request, "edit", edit, None if source else uid), own.do)


async def require_one_patient(parts: Parts, uid: str) -> None:
    """Refuse an edit of which it cannot be told what is meant.

    Raises:
        ApiError: 409.
    """
    async with parts.database.acquire() as db:
        studies, _ = await edition_of(db, uid)
    if studies > 1:
        raise conflict("This UID is of studies of several patients: decide that conflict first.")


def edit_command(
    request: Request, action: EditAction, edit: Edit, study: str | None
) -> EditStudies:
    """Return the command for an edit."""
    return EditStudies(
        job_id=new_message_id(),
        action=action,
        study_instance_uid=study,
        requested_by=principal_of(request.scope).username[:64],
        sealed=parts_of(request.scope).seal.seal(edit.model_dump(), purpose=PURPOSE),
    )


async def known(parts: Parts, patient: PatientRef) -> bool:
    """Tell whether the index has had a patient."""
    async with parts.database.acquire() as db:
        key = parts.blind.token("patient", "value", patient.token_text)
        return await patient_is_known(db, key)


def conflict(detail: str) -> ApiError:
    """Return the answer to what the state of things does not allow."""
    return ApiError(409, Code.CONFLICT, detail)


ROUTES: Final = JobRoutes(
    VIEW,
    "studies",
    EditJob,
    EditSearch,
    None,
    {"cancel": "Withdraw an edit that has not gone out yet."},
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    done: dict[int | str, dict[str, Any]] = {
        200: {"model": StudyDetail, "headers": ETAG, "description": "It is changed."},
        202: {"model": Accepted, "description": "A job changes what the objects say."},
    }
    app.add_api_route(
        PATH,
        change_study,
        methods=["PATCH"],
        tags=["studies"],
        response_class=Response,
        responses={**errors(400, 401, 403, 404, 409, 413, 422, 428, 503), **done},
        openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
    )
    ROUTES.serve(app)
