"""Replication: what is not sent or not taken yet, what was outvoted or refused (STO-07)."""

import datetime as dt
from typing import Annotated, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.desk.fence import Fence, fence_of
from darkroom_api.http.documented import errors
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_common.index.retention.replication import OUTCOMES, PEERS, SHIPPING, STATE
from darkroom_common.messages.base import Uid
from darkroom_common.postgres.listing import Key, Order

_BASE: Final = "/api/v1/replication"
_TAG: Final = "verification"
_BY_END: Final[dict[str, type[Key]]] = {"ended_at": dt.datetime, "number": int}


class Lag(BaseModel):
    """What the second store lacks."""

    changes: int = Field(description="objects to copy or to remove, and changes to tell")
    bytes: int
    seconds: float = Field(description="for which the first of them has waited")
    failed: int = Field(description="of these, tried and not sent: they are tried again")


class Peer(BaseModel):
    """Another site that is followed."""

    name: str
    files: int = Field(description="of its numbered files, so many are read")
    at: dt.datetime = Field(description="when one was read last, or the reason became another")
    reason: str = Field(description="why nothing more can be read; empty: it can")
    changes: int = Field(description="read, and not done here yet")
    seconds: float = Field(description="for which the first of them has waited")


class Shipping(BaseModel):
    """What `darkroom ship` sends to a standby."""

    is_active: bool
    bytes: int = Field(description="of the write-ahead log that are not sent yet")


class Replication(BaseModel):
    """How it stands."""

    site: str | None = Field(description="the name of this one; null: it was never switched on")
    sends: bool
    files: int = Field(description="numbered files that were told another site")
    heard: int = Field(description="of these, read there, as far as it has said so")
    lag: Lag
    peers: list[Peer]
    outvoted: int = Field(description="changes of another site that a later one here outvotes")
    refused: int = Field(description="changes of another site that cannot be done here")
    damaged: int = Field(description="findings of verification that are open")
    repaired: int = Field(description="findings that were repaired in the last 30 days")
    shipping: Shipping | None
    fence: Fence | None = Field(
        description="another site works in the place of this one, and nothing is changed here"
    )


class Outcome(BaseModel):
    """What another site has told and was not done here, or not all of it."""

    outcome_id: str
    site: str
    kind: Literal["object", "edit", "removal", "resolution", "hold"]
    state: Literal["outvoted", "refused"]
    study_instance_uid: str | None = Field(description="null: of all studies of a patient")
    reason: str
    at: dt.datetime = Field(description="when it was told")
    ended_at: dt.datetime


class OutcomeSearch(ListQuery):
    """What the list is narrowed by."""

    sort: Literal["-ended_at", "ended_at"] = "-ended_at"
    state: Literal["outvoted", "refused"] | None = None
    site: Annotated[str, Field(max_length=32)] | None = None
    study_instance_uid: Uid | None = None


_OUTCOMES: Final = Catalogue(
    OUTCOMES,
    {"-ended_at": Order(_BY_END, descending=True), "ended_at": Order(_BY_END)},
    lambda row: Outcome.model_validate(dict(row)),
)


async def show(request: Request) -> Replication:
    """Show what the second store and other sites lack, and what this site has not done yet."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        state = await db.fetchrow(STATE)
        peers = await db.fetch(PEERS)
        slot = await db.fetchrow(SHIPPING)
    given = dict(state or {})
    lag = Lag(**{name: given.pop(name) for name in Lag.model_fields})
    return Replication(
        lag=lag,
        fence=fence_of(parts.settings),
        peers=[Peer.model_validate(dict(row)) for row in peers],
        shipping=None if slot is None else Shipping(is_active=slot["active"], bytes=slot["bytes"]),
        **{name: value or 0 if name != "site" else value for name, value in given.items()},
    )


async def list_outcomes(
    request: Request, response: Response, asked: Annotated[OutcomeSearch, Query()]
) -> Listed[Outcome]:
    """List what another site has told and was not done here, newest first."""
    return await list_of(request, response, asked, _OUTCOMES)


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route(_BASE, show, tags=[_TAG], responses=errors(401, 403, 503))
    listed = {**LINKED, **errors(401, 403, 422, 503)}
    app.add_api_route(f"{_BASE}/outcomes", list_outcomes, tags=[_TAG], responses=listed)
