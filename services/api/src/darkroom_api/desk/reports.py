"""Error reports: what has gone wrong in a time, from wherever it is kept, without PHI (API-23)."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import first_id_at
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import invalid
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.typed import Moment
from darkroom_common.clock import utc_now
from darkroom_common.index import verification
from darkroom_common.postgres.listing import Key, Order
from darkroom_common.readers import ingest, transmit
from darkroom_common.readers import print as print_jobs

DEFAULT_TIME: Final = dt.timedelta(days=1)
LONGEST_TIME: Final = dt.timedelta(days=366)
_KEYS: Final[dict[str, type[Key]]] = {"at": dt.datetime, "error_id": str}
_ORDERS: Final = {"-at": Order(_KEYS, descending=True), "at": Order(_KEYS)}
Kind = Literal[
    "transmit_job",
    "retrieve_job",
    "procedure_step",
    "print_job",
    "export",
    "mail",
    "command",
    "quarantine",
    "dead_letter",
    "verification",
    "conflict",
    "association",
]
_OWN: Final = """
    SELECT 'export' AS kind, id AS error_id, finished_at AS at, reason, format AS subject
    FROM api.export WHERE state = 'FAILED' AND finished_at >= $1 AND finished_at < $2
    UNION ALL SELECT 'mail', id, finished_at, reason, template FROM api.mail
    WHERE state = 'FAILED' AND finished_at >= $1 AND finished_at < $2
    UNION ALL SELECT 'command', job_id, finished_at, reason, kind FROM api.accepted
    WHERE state = 'FAILED' AND finished_at >= $1 AND finished_at < $2
    UNION ALL SELECT 'dead_letter', id::text, died_at, reason, queue FROM api.dead_letter
    WHERE died_at >= $1 AND died_at < $2
    UNION ALL SELECT 'association', log_id::text, recorded_at,
        coalesce(details ->> 'reason', ''), resource_id
    FROM api.audit_log WHERE action = 'DICOM_ASSOCIATION' AND outcome = 'failure'
        AND log_id >= $3::uuid AND log_id < $4::uuid
"""
_SOURCES: Final = (_OWN, transmit.ERRORS, print_jobs.ERRORS, ingest.ERRORS, verification.ERRORS)
_SOURCE: Final = " UNION ALL ".join(_SOURCES)
"""$1 from, $2 to, $3 and $4 the first ids of the audit log at these."""
_COUNTS: Final = "SELECT kind, count(*) AS number FROM ({}) AS found GROUP BY kind"


class Reported(BaseModel):
    """Something that has gone wrong."""

    kind: Kind
    error_id: str = Field(description="of the job, object, letter, finding or row of the audit log")
    at: dt.datetime
    reason: str = Field(description="a word or a sentence; see the page of its kind in docs")
    subject: str = Field(description="destination, printer, AE title or queue")


class Report(Listed[Reported]):
    """A page of what has gone wrong, and how much of each kind."""

    start: dt.datetime = Field(serialization_alias="from")
    end: dt.datetime = Field(serialization_alias="to")
    counts: dict[Kind, int] = Field(description="of the whole time, whatever `kind` is asked for")


class ReportQuery(ListQuery):
    """Which time, and which kind."""

    sort: Literal["-at", "at"] = "-at"
    start: Moment | None = Field(
        default=None, alias="from", description="inclusive; left out: a day before `to`"
    )
    end: Moment | None = Field(default=None, alias="to", description="exclusive; left out: now")
    kind: Kind | None = None

    def narrowed(self) -> dict[str, object]:
        """Return what the list is narrowed by; the time is within the source."""
        return {"kind": self.kind}


async def report_errors(
    request: Request, response: Response, asked: Annotated[ReportQuery, Query()]
) -> Report:
    """Report what has gone wrong in a time."""
    end = asked.end or utc_now()
    try:
        start = asked.start or end - DEFAULT_TIME
    except OverflowError:
        raise invalid("query.to", "It is too early.") from None
    if not dt.timedelta(0) < end - start <= LONGEST_TIME:
        raise invalid("query.from", f"It is before `to`, by {LONGEST_TIME.days} days at most.")
    bound = (start, end, first_id_at(start), first_id_at(end))
    database = parts_of(request.scope).database
    async with database.transaction() as db:
        rows = await db.fetch(_COUNTS.format(_SOURCE), *bound)
        told = {"from": start.isoformat(), "to": end.isoformat(), "kind": asked.kind}
        await record(db, request.scope, Action.REPORT_READ, "report", "errors", details=told)
    catalogue = Catalogue(
        _SOURCE, _ORDERS, lambda row: Reported.model_validate(dict(row)), bound=bound
    )
    found = await list_of(request, response, asked, catalogue)
    counts: Any = {row["kind"]: row["number"] for row in rows}
    return Report(**found.model_dump(), start=start, end=end, counts=counts)


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        "/api/v1/reports/errors",
        report_errors,
        tags=["reports"],
        responses={**LINKED, **errors(401, 403, 422, 503)},
    )
