"""Legal holds: studies, and patients, of which nobody may delete anything (STO-04).

A hold is placed when everything that is being deleted of it has ended, and what is deleted already
is not purged any more: see `darkroom_common.index.retention.holds`.
"""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, invalid, study_not_found
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.once import require_authority
from darkroom_api.studies.editing import conflict
from darkroom_api.studies.identity import study_meant
from darkroom_api.studies.removal import HELD, Removal
from darkroom_common.index.conflicts import patient_is_known
from darkroom_common.index.retention.holds import begin_holding, name_of
from darkroom_common.index.retention.judged import STUDIES_OF_PATIENT, is_stored
from darkroom_common.messages.base import MessageId, Uid, new_message_id
from darkroom_common.postgres.listing import Order
from darkroom_common.specs.edits import PatientRef
from darkroom_common.specs.retention import REMOVAL_PURPOSE

_STUDIES: Final = "/api/v1/legal-holds"
_PATIENTS: Final = "/api/v1/patient-holds"
Owner = Annotated[
    str, StringConstraints(max_length=64, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]*$")
]
_PUT: Final = (
    "INSERT INTO api.legal_hold (study_instance_uid, by, owner, sealed) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (study_instance_uid) DO NOTHING RETURNING at"
)
_END: Final = (
    "DELETE FROM api.legal_hold WHERE study_instance_uid = $1 RETURNING study_instance_uid"
)
_ALL: Final = (
    "SELECT study_instance_uid, by, coalesce(nullif(owner, ''), by) AS owner, at, sealed"
    " FROM api.legal_hold"
)
_PUT_PATIENT: Final = (
    "INSERT INTO api.patient_hold (id, patient_key, by, owner, sealed) VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT (patient_key) DO NOTHING RETURNING at"
)
_PUT_STUDIES: Final = (
    "INSERT INTO api.patient_hold_study (hold, study_instance_uid)"
    " SELECT $1, uid FROM unnest($2::text[]) AS given (uid)"
)
_END_PATIENT: Final = "DELETE FROM api.patient_hold WHERE id = $1 RETURNING id"
_ALL_PATIENTS: Final = (
    "SELECT id, by, owner, at, sealed, (SELECT count(*) FROM api.patient_hold_study s"
    " WHERE s.hold = h.id) AS studies FROM api.patient_hold h"
)
_KEYS: Final = {"at": dt.datetime, "study_instance_uid": str}
_KEPT: Final = ("study_instance_uid", "by", "owner", "at")
_PATIENT_KEYS: Final = {"at": dt.datetime, "id": str}


class HoldRequest(Removal):
    """A study that nobody may delete."""

    exam_id: str = Field(min_length=1, max_length=64)
    owner: Owner = Field(
        default="", description="who answers for it; nothing of a patient. Empty: who asks"
    )


class Hold(BaseModel):
    """A study that nobody may delete."""

    study_instance_uid: str
    by: str
    owner: str
    at: dt.datetime
    reason: str


class PatientHoldRequest(Removal):
    """A patient of whom nobody may delete anything."""

    patient: PatientRef
    owner: Owner = Field(
        default="", description="who answers for it; nothing of a patient. Empty: who asks"
    )


class PatientHold(BaseModel):
    """A patient of whom nobody may delete anything."""

    hold_id: str
    patient: PatientRef
    studies: int = Field(description="that the patient had when it was placed")
    by: str
    owner: str
    at: dt.datetime
    reason: str


class HoldSearch(ListQuery):
    """Which page of the list, and what it is narrowed by."""

    sort: Literal["-at", "at"] = "-at"
    study_instance_uid: Uid | None = None


class PatientHoldSearch(ListQuery):
    """Which page of the list."""

    sort: Literal["-at", "at"] = "-at"


async def hold_study(request: Request, given: HoldRequest) -> Hold:
    """Let nobody delete a study, however old; one that is deleted is not purged."""
    parts = parts_of(request.scope)
    uid = await _study_named(request, given.exam_id)
    by = principal_of(request.scope).username[:64]
    owner = given.owner or by
    sealed = parts.seal.seal(given.reason, purpose=REMOVAL_PURPOSE)
    async with parts.database.transaction() as db:
        await require_authority(db, request)
        await begin_holding(db, [uid])
        if not await is_stored(db, uid):  # it was purged while this waited
            raise study_not_found()
        at = await db.fetchval(_PUT, uid, by, owner, sealed)
        if at is None:
            raise conflict(HELD)
        more: dict[str, Any] = {
            "details": {"hold": True, "owner": owner},
            "phi": {"reason": given.reason},
        }
        await record(db, request.scope, Action.STUDY_UPDATE, "study", uid, **more)
    return Hold(study_instance_uid=uid, by=by, owner=owner, at=at, reason=given.reason)


async def _study_named(request: Request, exam_id: str) -> str:
    """Return the UID of a study that is meant, also of one that is deleted and not purged yet."""
    try:
        return (await study_meant(request, exam_id)).study_instance_uid
    except ApiError as error:
        if error.status != study_not_found().status:
            raise
        async with parts_of(request.scope).database.acquire() as db:
            if not await is_stored(db, exam_id):
                raise
    return exam_id


async def list_holds(
    request: Request, response: Response, asked: Annotated[HoldSearch, Query()]
) -> Listed[Hold]:
    """List legal holds of studies, newest first."""
    seal = parts_of(request.scope).seal

    def shown(row: Any) -> Hold:
        why = seal.open(row["sealed"], purpose=REMOVAL_PURPOSE)
        return Hold(reason=why, **{name: row[name] for name in _KEPT})

    orders = {"-at": Order(_KEYS, descending=True), "at": Order(_KEYS)}
    return await list_of(request, response, asked, Catalogue(_ALL, orders, shown))


async def end_hold(
    request: Request, study: Annotated[str, Path(min_length=1, max_length=64)]
) -> Response:
    """End a legal hold of a study."""
    async with parts_of(request.scope).database.transaction() as db:
        await require_authority(db, request)
        if await db.fetchval(_END, study) is None:
            raise ApiError(404, Code.NOT_FOUND, "There is no such hold.")
        details = {"hold": False}
        await record(db, request.scope, Action.STUDY_UPDATE, "study", study, details=details)
    return Response(status_code=204)


async def hold_patient(request: Request, given: PatientHoldRequest) -> PatientHold:
    """Let nobody delete anything of a patient, of now or of later, however old."""
    parts = parts_of(request.scope)
    key = parts.blind.token("patient", "value", given.patient.token_text)
    by, hold = principal_of(request.scope).username[:64], new_message_id()
    owner = given.owner or by
    told = {"patient": given.patient.model_dump(), "reason": given.reason}
    sealed = parts.seal.seal(told, purpose=REMOVAL_PURPOSE)
    async with parts.database.transaction() as db:
        await require_authority(db, request)
        await begin_holding(db, [name_of(key)])
        if not await patient_is_known(db, key):
            raise invalid("body.patient", "The index knows no such patient.")
        at = await db.fetchval(_PUT_PATIENT, hold, key, by, owner, sealed)
        if at is None:
            raise conflict("The patient is under legal hold.")
        studies = sorted({row[0] for row in await db.fetch(STUDIES_OF_PATIENT, key)})
        await db.execute(_PUT_STUDIES, hold, studies)
        more: dict[str, Any] = {"details": {"hold": True, "owner": owner}, "phi": told}
        await record(db, request.scope, Action.STUDY_UPDATE, "patient", hold, **more)
    return PatientHold(
        hold_id=hold,
        patient=given.patient,
        studies=len(studies),
        by=by,
        owner=owner,
        at=at,
        reason=given.reason,
    )


async def list_patient_holds(
    request: Request, response: Response, asked: Annotated[PatientHoldSearch, Query()]
) -> Listed[PatientHold]:
    """List legal holds of patients, newest first."""
    seal = parts_of(request.scope).seal

    def shown(row: Any) -> PatientHold:
        told = seal.open(row["sealed"], purpose=REMOVAL_PURPOSE)
        return PatientHold(
            hold_id=row["id"],
            patient=PatientRef.model_validate(told["patient"]),
            reason=told["reason"],
            **{name: row[name] for name in ("studies", "by", "owner", "at")},
        )

    orders = {"-at": Order(_PATIENT_KEYS, descending=True), "at": Order(_PATIENT_KEYS)}
    return await list_of(request, response, asked, Catalogue(_ALL_PATIENTS, orders, shown))


async def end_patient_hold(request: Request, hold: MessageId) -> Response:
    """End a legal hold of a patient; holds of their studies stay."""
    async with parts_of(request.scope).database.transaction() as db:
        await require_authority(db, request)
        if await db.fetchval(_END_PATIENT, hold) is None:
            raise ApiError(404, Code.NOT_FOUND, "There is no such hold.")
        details = {"hold": False}
        await record(db, request.scope, Action.STUDY_UPDATE, "patient", hold, details=details)
    return Response(status_code=204)


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path, one, list_all, place, end in (
        (_STUDIES, "/{study}", list_holds, hold_study, end_hold),
        (_PATIENTS, "/{hold}", list_patient_holds, hold_patient, end_patient_hold),
    ):
        app.add_api_route(
            path, list_all, tags=["studies"], responses={**LINKED, **errors(401, 403, 422, 503)}
        )
        app.add_api_route(
            path,
            place,
            methods=["POST"],
            status_code=201,
            responses=errors(400, 401, 403, 404, 409, 413, 422, 503),
            tags=["studies"],
        )
        app.add_api_route(
            path + one,
            end,
            methods=["DELETE"],
            status_code=204,
            responses=errors(401, 403, 404, 422, 503),
            tags=["studies"],
        )
