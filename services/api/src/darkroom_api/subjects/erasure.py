"""Erasing a person, as far as retention and legal hold allow, with a certificate (GDPR 17)."""

import asyncio
import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import ETAG, IfNoneMatch, answer, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import Parts, parts_of
from darkroom_api.jobs.accepted import keep_beside
from darkroom_api.jobs.acts import KEY, act_of
from darkroom_api.jobs.once import require_authority
from darkroom_api.studies.removal import VIEW, Target, command_of
from darkroom_api.subjects import certificate
from darkroom_api.subjects.erasing import PURPOSE, Item, decide
from darkroom_api.subjects.export import PersonRequest, patient_key
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.messages.base import MessageId, new_message_id
from darkroom_common.postgres.listing import Order
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.edits import PatientRef

_PATH: Final = "/api/v1/erasures"
_ADD: Final = "INSERT INTO api.erasure (id, user_id, by, sealed) VALUES ($1, $2, $3, $4)"
_ALL: Final = "SELECT id, by, at, sealed FROM api.erasure"
_FIND: Final = _ALL + " WHERE id = $1"
_KEYS: Final = {"at": dt.datetime, "id": str}
State = Literal["erased", "deleted", "being deleted", "restored", "failed", "kept", "held"]


class ErasureRequest(PersonRequest):
    """A person who is to be erased."""

    dry_run: StrictBool = Field(
        default=False, description="say what would go and what stays, no more"
    )


class ErasedStudy(Item):
    """A study of the person, and how it stands with it now."""

    state: State = Field(
        description="erased: gone for good; deleted: nobody sees it, it is purged at `at`; kept"
        " and held: it stays"
    )
    at: dt.datetime | None = Field(description="when it was purged, or will be")


class Erasure(BaseModel):
    """An erasure as it stands now: the certificate."""

    erasure_id: str = Field(description="empty: a dry run")
    patient: PatientRef
    reason: str
    by: str
    at: dt.datetime
    complete: bool = Field(description="whether all is gone that could be")
    studies: list[ErasedStudy]
    stays: list[tuple[str, str]] = Field(description="what stays beside studies, and why")


class ErasureSearch(ListQuery):
    """Which page of the list."""

    sort: Literal["-at", "at"] = "-at"


class ErasureShort(BaseModel):
    """An erasure in the list."""

    erasure_id: str
    by: str
    at: dt.datetime
    studies: int
    erasable: int = Field(description="studies that nothing kept")


def _stays(parts: Parts) -> list[tuple[str, str]]:
    days = parts.settings.audit_retention_days
    return [
        ("audit log", f"who did what: kept for {days} days, sealed; a duty of the archive"),
        ("this certificate", "proof of the erasure, sealed"),
        ("backups", "until the last one that was made before is removed"),
    ]


async def erase_person(request: Request, response: Response, given: ErasureRequest) -> Erasure:
    """Delete all studies of a person that neither retention nor a legal hold keeps.

    They are restorable until they are purged, as after any deletion. A dry run deletes nothing.
    """
    parts, by = parts_of(request.scope), principal_of(request.scope).username[:64]
    key = await patient_key(parts, given.patient)
    erasure = new_message_id()
    async with parts.database.transaction() as db:
        await require_authority(db, request)
        before = None if given.dry_run else (await act_of(db, request, given, said=erasure)).said
        items = [] if before else await _erase(db, request, given, key, erasure)
    if before:
        response.headers["location"] = f"{_PATH}/{before}"
        return await _find(request, before)
    if given.dry_run:
        response.status_code = 200
        erasure = ""
    else:
        response.headers["location"] = f"{_PATH}/{erasure}"
    async with parts.database.acquire() as db:
        studies = [await _study(db, item) for item in items]
    named = {"erasure_id": erasure, "by": by, "at": SYSTEM_CLOCK.now()}
    return _erasure(parts, named, _told(given), studies)


def _told(given: ErasureRequest) -> dict[str, Any]:
    return {"patient": given.patient.model_dump(), "reason": given.reason}


async def _erase(
    db: Connection, request: Request, given: ErasureRequest, key: bytes, erasure: str
) -> list[Item]:
    """Return what is known of the person, and have deleted what may go unless it is a dry run."""
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    items, told = await decide(db, parts, key), _told(given)
    if not given.dry_run:
        for item in items:
            if item.outcome == "to_erase":
                asked = command_of(request, "delete", Target(item.study_instance_uid), "erasure")
                await keep_beside(db, request, VIEW, asked)
                item.removal = asked.job_id
        kept = told | {"items": [item.model_dump(mode="json") for item in items]}
        sealed = parts.seal.seal(kept, purpose=PURPOSE)
        await db.execute(_ADD, erasure, principal.user_id, principal.username[:64], sealed)
        for item in items:
            if item.removal:
                uid, job = item.study_instance_uid, {"job_id": item.removal, "erasure": erasure}
                await record(db, request.scope, Action.STUDY_DELETE, "study", uid, details=job)
    more: dict[str, Any] = {
        "details": {
            "erasure": erasure,
            "dry_run": given.dry_run,
            "studies": len(items),
            "erasable": sum(item.outcome == "to_erase" for item in items),
        },
        "phi": told,
    }
    await record(db, request.scope, Action.STUDY_DELETE, "patient", erasure, **more)
    return items


def _erasure(parts: Parts, named: Any, told: Any, studies: list[ErasedStudy]) -> Erasure:
    return Erasure(
        patient=PatientRef.model_validate(told["patient"]),
        reason=told["reason"],
        complete=all(one.state in ("erased", "kept", "held") for one in studies),
        studies=studies,
        stays=_stays(parts),
        **named,
    )


async def _study(db: Connection, item: Item) -> ErasedStudy:
    """Return how it stands with a study now."""
    given = item.model_dump()
    if item.outcome in ("kept", "held"):
        return ErasedStudy(**given, state=item.outcome, at=None)
    if not item.removal:
        return ErasedStudy(**given, state="being deleted", at=None)
    row = await VIEW.find(db, item.removal)
    at, given["why"] = row["purge_after"], row["reason"] or item.why
    state: State = "being deleted"
    if row["state"] in ("FAILED", "CANCELLED"):
        state = "failed"
    elif row["restored_at"] is not None:
        state, at = "restored", row["restored_at"]
    elif row["purged_at"] is not None:
        state, at = "erased", row["purged_at"]
    elif row["state"] == "DONE":
        state = "deleted"
    return ErasedStudy(**given, state=state, at=at)


async def _find(request: Request, job: str) -> Erasure:
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = await db.fetchrow(_FIND, job)
        if row is None:
            raise ApiError(404, Code.NOT_FOUND, "There is no such erasure.")
        told = parts.seal.open(row["sealed"], purpose=PURPOSE)
        studies = [await _study(db, Item.model_validate(one)) for one in told["items"]]
    return _erasure(parts, {"erasure_id": job, "by": row["by"], "at": row["at"]}, told, studies)


async def list_erasures(
    request: Request, response: Response, asked: Annotated[ErasureSearch, Query()]
) -> Listed[ErasureShort]:
    """List erasures, newest first, without whose they are."""
    seal = parts_of(request.scope).seal

    def shown(row: Any) -> ErasureShort:
        items = seal.open(row["sealed"], purpose=PURPOSE)["items"]
        erasable = sum(one["outcome"] == "to_erase" for one in items)
        told = {"erasure_id": row["id"], "by": row["by"], "at": row["at"]}
        return ErasureShort(**told, studies=len(items), erasable=erasable)

    orders = {"-at": Order(_KEYS, descending=True), "at": Order(_KEYS)}
    return await list_of(request, response, asked, Catalogue(_ALL, orders, shown))


async def show_erasure(
    request: Request, erasure: MessageId, if_none_match: IfNoneMatch = None
) -> Response:
    """Show an erasure as it stands now: what went, what stays, and why."""
    found = await _find(request, erasure)
    await _recorded(request, erasure, "json")
    return unless_known(answer(found.model_dump()), if_none_match)


async def show_certificate(request: Request, erasure: MessageId) -> Response:
    """Fetch the same as a document."""
    found = await _find(request, erasure)
    for_whom, now = principal_of(request.scope).username, SYSTEM_CLOCK.now()
    data = await asyncio.to_thread(certificate.content, found, now, for_whom)
    await _recorded(request, erasure, "pdf")
    name = f'attachment; filename="erasure-{erasure}.pdf"'
    return Response(data, media_type="application/pdf", headers={"content-disposition": name})


async def _recorded(request: Request, erasure: str, form: str) -> None:
    details = {"erasure": erasure, "certificate": form}
    async with parts_of(request.scope).database.transaction() as db:
        await record(db, request.scope, Action.STUDY_READ, "patient", erasure, details=details)


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route(
        "/api/v1/patients/erase",
        erase_person,
        methods=["POST"],
        status_code=202,
        tags=["persons"],
        responses={
            200: {"model": Erasure, "description": "A dry run: this would be done."},
            **errors(400, 401, 403, 409, 413, 422, 503),
        },
        openapi_extra=KEY,
    )
    app.add_api_route(
        _PATH, list_erasures, tags=["persons"], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    one = _PATH + "/{erasure}"
    app.add_api_route(
        one,
        show_erasure,
        tags=["persons"],
        response_class=Response,
        responses={**errors(401, 403, 404, 422, 503), 200: {"model": Erasure, "headers": ETAG}},
    )
    app.add_api_route(
        one + "/certificate",
        show_certificate,
        tags=["persons"],
        response_class=Response,
        responses={
            **body("The certificate.", "application/pdf"),
            **errors(401, 403, 404, 422, 503),
        },
    )
