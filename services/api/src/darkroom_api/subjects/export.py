"""Asking for all that there is of one person as one file: an export like the others."""

from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.exports.making import FILTERS
from darkroom_api.exports.repository import NewExport
from darkroom_api.exports.routes import PATH, ExportAccepted
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import Parts, parts_of
from darkroom_api.jobs.once import IDEMPOTENCY_KEY, Asked, Once, require_authority
from darkroom_api.rates.classes import Class
from darkroom_api.studies.removal import Reason
from darkroom_common.index.conflicts import patient_is_known
from darkroom_common.messages.base import new_message_id
from darkroom_common.specs.edits import PatientRef

_ONCE: Final = Once("export")
_PATH: Final = "/api/v1/patients/export"
FORMAT: Final = "person"


class PersonRequest(BaseModel):
    """One person, and why something is done with all that there is of them."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    patient: PatientRef
    reason: Reason


async def patient_key(parts: Parts, patient: PatientRef) -> bytes:
    """Return the key of a patient that the index knows.

    Raises:
        ApiError: 422, there is none.
    """
    key = parts.blind.token("patient", "value", patient.token_text)
    async with parts.database.acquire() as db:
        if not await patient_is_known(db, key):
            raise invalid("body.patient", "The index knows no such patient.")
    return key


async def export_person(
    request: Request, response: Response, given: PersonRequest
) -> ExportAccepted:
    """Have all of a person made as one file: objects, what is said, who looked, where it went.

    It is an export of whoever asks: its status, download and end are those of exports.
    """
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    key = await patient_key(parts, given.patient)
    person = given.patient.model_dump()

    async def keep(asked: Asked) -> str | None:
        response.headers.update(await parts.rates.take(Class.EXPORTS, str(principal.user_id)))
        new = NewExport(
            principal.user_id,
            principal.username[:64],
            FORMAT,
            (),
            parts.seal.seal({"patient": person, "patient_key": key.hex()}, purpose=FILTERS),
            shared=False,
            key=asked.key,
            fingerprint=asked.fingerprint,
        )
        async with parts.database.transaction() as db:
            await require_authority(db, request)
            await _ONCE.forget(db, request, asked)
            row = await parts.own.exports.add(db, new_message_id(), new)
            if row is None:
                return None
            job: str = row["id"]
            more: dict[str, Any] = {
                "details": {"format": FORMAT},
                "phi": {"patient": person, "reason": given.reason},
            }
            await record(db, request.scope, Action.EXPORT_CREATE, "export", job, **more)
        return job

    job = await _ONCE.job(request, given, keep)
    response.headers["location"] = f"{PATH}/{job}/status"
    return ExportAccepted(
        job_id=job,
        status="pending",
        estimated_time=1,
        message="Export job created. Check status for progress.",
    )


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        _PATH,
        export_person,
        methods=["POST"],
        status_code=202,
        tags=["persons"],
        responses=errors(400, 401, 403, 409, 413, 422, 429, 503),
        openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
    )
