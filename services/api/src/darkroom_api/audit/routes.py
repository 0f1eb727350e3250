"""Reading, verifying and exporting the audit log (API-05). Each of these is audited, too."""

import base64
import binascii
import json
import uuid
from typing import Annotated, Final

from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.accounts.permissions import Permission, allows
from darkroom_api.audit import csv_rows
from darkroom_api.audit.actions import Action
from darkroom_api.audit.anchor import Anchor
from darkroom_api.audit.query import AuditItem, AuditSearch, search, shown
from darkroom_api.audit.recording import More, record
from darkroom_api.audit.verification import Fault, Place, Step
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Listed, ListQuery, cursor_keys, cursor_of, set_headers
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin
from darkroom_common.clock import monotonic

_BASE: Final = "/api/v1/audit-logs"
_SECONDS: Final = 4.0
"""Of verifying in one request; what is left goes on with `after`."""
_MOST_FAULTS: Final = 1000


class AuditFault(BaseModel):
    """What is wrong with a row or a link of the chain."""

    kind: str = Field(description="see docs/audit.md")
    log_id: str | None = Field(description="of the row")
    link: int | None = Field(description="of the chain")


class Verified(BaseModel):
    """What verification has found."""

    valid: bool = Field(description="nothing is wrong with what was checked")
    complete: bool = Field(description="all of it was checked; else go on with `after`")
    rows: int
    links: int
    faults: list[AuditFault] = Field(description="at most 1000")
    after: str | None = Field(description="for the next request")
    anchor: str | None = Field(description="number and code of the last link: to compare with")


class Verify(BaseModel):
    """Where to go on, and what the chain has to hold."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    after: str | None = Field(default=None, max_length=512, description="from the answer before")
    anchor: str | None = Field(
        default=None,
        pattern=r"^[0-9]{1,18}:[0-9a-f]{64}$",
        description="that was kept elsewhere: a chain that lacks it was cut",
    )


async def list_rows(
    request: Request, response: Response, asked: Annotated[AuditSearch, Parameter()]
) -> Listed[AuditItem]:
    """List what was done, the newest first."""
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    after = None if asked.cursor is None else _row_of(asked.cursor, asked.sort)
    may_read = allows(Permission.STUDIES_READ, principal.permissions)
    async with parts.database.transaction() as db:
        found = await search(db, asked, after)
        await record(db, request.scope, Action.AUDIT_READ, "audit", **_said(asked))
    cursor = None if found.last is None else cursor_of(asked.sort, (str(found.last),))
    set_headers(request, response, asked, found.total, cursor)
    return Listed(
        data=[shown(row, parts.seal if may_read else None) for row in found.rows],
        total=found.total,
        page=asked.page,
        page_size=asked.page_size,
        total_is_estimate=found.is_estimate,
    )


async def export_rows(
    request: Request, asked: Annotated[AuditSearch, Parameter()]
) -> StreamingResponse:
    """Send the rows as CSV, all of them whatever the page, without what identifies patients."""
    parts = parts_of(request.scope)
    async with parts.database.transaction() as db:
        await record(db, request.scope, Action.AUDIT_EXPORT, "audit", **_said(asked))
    return StreamingResponse(
        await begin(csv_rows.rows(parts.database, asked)),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="audit-log.csv"'},
    )


async def verify(request: Request, given: Verify | None = None) -> Verified:
    """Check rows and chain, for some seconds at a time."""
    given = given or Verify()
    parts = parts_of(request.scope)
    anchors = [] if given.anchor is None else [Anchor.parse(given.anchor)]
    place: Place | None = Place() if given.after is None else _place_of(given.after)
    rows = links = 0
    faults: list[Fault] = []
    until = monotonic() + _SECONDS
    step = Step()
    while place is not None and monotonic() < until and len(faults) < _MOST_FAULTS:
        step = await parts.verification.step(place, anchors)
        rows, links, place = rows + step.rows, links + step.links, step.place
        faults += step.faults
    details = {"rows": rows, "links": links, "faults": len(faults), "complete": place is None}
    async with parts.database.transaction() as db:
        await record(
            db,
            request.scope,
            Action.AUDIT_VERIFY,
            "audit",
            details=details,
            outcome="failure" if faults else "success",
        )
    return Verified(
        valid=not faults,
        complete=place is None,
        rows=rows,
        links=links,
        faults=[
            AuditFault(kind=one.kind, log_id=str(one.log_id) if one.log_id else None, link=one.link)
            for one in faults[:_MOST_FAULTS]
        ],
        after=None if place is None else _text_of(place),
        anchor=f"{step.end.number}:{step.end.mac.hex()}" if step.end.number else None,
    )


def _said(asked: AuditSearch) -> More:
    """Return what is kept of a search: the values may name a patient, and are sealed."""
    given = asked.model_dump(mode="json", exclude_none=True, exclude=set(ListQuery.model_fields))
    if not given:
        return {}
    return {"details": {"filters": sorted(given)}, "phi": {"filter_values": given}}


def _row_of(cursor: str, sort: str) -> uuid.UUID:
    (text,) = cursor_keys(cursor, sort, [str])
    try:
        return uuid.UUID(str(text))
    except ValueError:
        raise invalid("cursor", "It is not of this list and sort.") from None


def _text_of(place: Place) -> str:
    words = [place.number, place.mac.hex(), place.checked.hex]
    return base64.urlsafe_b64encode(json.dumps(words).encode()).rstrip(b"=").decode()


def _place_of(text: str) -> Place:
    try:
        number, mac, checked = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        place = Place(int(number), bytes.fromhex(mac), uuid.UUID(checked))
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise invalid("after", "It is not of an answer to this.") from None
    if not 0 <= place.number < 2**63:
        raise invalid("after", "It is not of an answer to this.")
    return place


def add(app: FastAPI) -> None:
    """Add the routes."""
    tags = ["audit"]
    failures = errors(400, 401, 403, 422, 503)
    app.add_api_route(_BASE, list_rows, tags=[*tags], responses={**LINKED, **failures})
    app.add_api_route(
        f"{_BASE}/export",
        export_rows,
        tags=[*tags],
        response_class=StreamingResponse,
        responses={**body("The rows.", "text/csv"), **failures},
    )
    app.add_api_route(
        f"{_BASE}/verify",
        verify,
        methods=["POST"],
        tags=[*tags],
        responses={**failures, **errors(413)},
    )
