"""Verification of what is stored: its runs, and what they have found (ING-09, STO-08)."""

import datetime as dt
from typing import Annotated, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.documented import errors
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_common.index.verification import FINDINGS, RUNS, TIERS
from darkroom_common.postgres.listing import Key, Order

_BASE: Final = "/api/v1/verification"
_TAG: Final = "verification"
_BY_START: Final[dict[str, type[Key]]] = {"started": dt.datetime, "number": int}
_BY_SIGHT: Final[dict[str, type[Key]]] = {"first_seen": dt.datetime, "number": int}


RunKind = Literal["contents", "slow", "rows", "objects", "replica"]


class Run(BaseModel):
    """One pass over what is stored."""

    run_id: str
    kind: RunKind
    scope: str = Field(description="due, all, or since a time")
    state: Literal["running", "finished", "abandoned"]
    started: dt.datetime
    finished: dt.datetime | None
    checked: int = Field(description="rows or objects so far")
    bytes: int
    findings: int


class Tier(BaseModel):
    """One of the stores, each of which is read back on a schedule of its own."""

    tier: Literal["fast", "slow", "replica"] = Field(
        description="fast: the only one as well; slow: the second of STORE_URL; replica: that of"
        " REPLICATION_URL"
    )
    oldest_at: dt.datetime | None = Field(
        description="when what has waited longest was stored or last read back; null: nothing is"
        " there"
    )
    run: Run | None = Field(description="the last one over it; null: it was never read back")


class Tiers(BaseModel):
    """The stores, and how far each is read back."""

    data: list[Tier]


FindingKind = Literal[
    "missing-object",
    "altered-object",
    "wrong-size",
    "orphan-object",
    "unreadable",
    "replica-damaged",
]


class Finding(BaseModel):
    """Something wrong with an object."""

    finding_id: str
    kind: FindingKind
    state: Literal["open", "repaired", "resolved"]
    object_key: str = Field(description="in the store; it tells nothing of the patient")
    receipt: str | None
    size: int | None = Field(description="bytes of the object; null when it has none")
    first_seen: dt.datetime
    last_seen: dt.datetime
    repaired_at: dt.datetime | None
    resolved_at: dt.datetime | None


class RunSearch(ListQuery):
    """What the list is narrowed by."""

    sort: Literal["-started", "started"] = "-started"
    kind: RunKind | None = None
    state: Literal["running", "finished", "abandoned"] | None = None


class FindingSearch(ListQuery):
    """What the list is narrowed by."""

    sort: Literal["-first_seen", "first_seen"] = "-first_seen"
    kind: FindingKind | None = None
    state: Literal["open", "repaired", "resolved"] | None = None


_RUNS: Final = Catalogue(
    RUNS,
    {"-started": Order(_BY_START, descending=True), "started": Order(_BY_START)},
    lambda row: Run.model_validate(dict(row)),
)
_FINDINGS: Final = Catalogue(
    FINDINGS,
    {"-first_seen": Order(_BY_SIGHT, descending=True), "first_seen": Order(_BY_SIGHT)},
    lambda row: Finding.model_validate(dict(row)),
)


async def list_runs(
    request: Request, response: Response, asked: Annotated[RunSearch, Query()]
) -> Listed[Run]:
    """List passes over what is stored, newest first."""
    return await list_of(request, response, asked, _RUNS)


async def list_findings(
    request: Request, response: Response, asked: Annotated[FindingSearch, Query()]
) -> Listed[Finding]:
    """List what they have found, newest first."""
    return await list_of(request, response, asked, _FINDINGS)


async def show_tiers(request: Request) -> Tiers:
    """Show of each store how far it is read back."""
    async with parts_of(request.scope).database.acquire() as db:
        rows = [dict(row) for row in await db.fetch(TIERS)]
    return Tiers(
        data=[
            Tier(
                tier=row["tier"],
                oldest_at=row["oldest_at"],
                run=None if row["run_id"] is None else Run.model_validate(row),
            )
            for row in rows
        ]
    )


def add(app: FastAPI) -> None:
    """Add the routes."""
    failed = {**LINKED, **errors(401, 403, 422, 503)}
    app.add_api_route(_BASE, list_runs, tags=[_TAG], responses=failed)
    app.add_api_route(f"{_BASE}/tiers", show_tiers, tags=[_TAG], responses=errors(401, 403, 503))
    app.add_api_route(f"{_BASE}/findings", list_findings, tags=[_TAG], responses=failed)
