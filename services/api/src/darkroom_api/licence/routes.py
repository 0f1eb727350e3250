"""The licence by REST: for everybody who is signed in, since it says why something is refused."""

import datetime as dt
from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request

from darkroom_api.http.documented import errors
from darkroom_api.http.parts import parts_of
from darkroom_api.licence.standing import told
from darkroom_common.clock import utc_now
from darkroom_common.messages.events import LicenceNotice, LicenceState


class Limits(BaseModel):
    """How many there may be; null: as many as you like."""

    destinations: int | None = None
    printers: int | None = None
    users: int | None = None


class Licence(BaseModel):
    """What the licence is, and what follows from it."""

    edition: Literal["community", "licensed", "unknown"] = Field(
        description="community: it works without a licence; unknown: licensing has not said yet"
    )
    state: LicenceState | None
    reason: str = Field(description="a sentence for people; empty when all is well")
    licence_id: str
    customer: str
    valid_until: dt.datetime | None
    confirmed_at: dt.datetime | None
    features: list[str] = Field(description="`*` is all of them")
    limits: Limits
    read_only: bool = Field(
        description="new administrative work is answered 402; patient data goes on"
    )
    read_only_from: dt.datetime | None = Field(
        description="since when, or when it will be unless something changes"
    )
    hours_left: float | None = Field(description="until then")
    notice: LicenceNotice = Field(description="whom a console shows the reason to")


async def show_licence(request: Request) -> Licence:
    """Show the licence, and why administration is read-only if it is."""
    async with parts_of(request.scope).database.acquire() as db:
        now = await told(db)
    if now is None:
        return Licence(
            edition="unknown",
            state=None,
            reason="The service licensing has not said anything yet. Nothing is refused.",
            licence_id="",
            customer="",
            valid_until=None,
            confirmed_at=None,
            features=["*"],
            limits=Limits(),
            read_only=False,
            read_only_from=None,
            hours_left=None,
            notice="nobody",
        )
    left = None if now.read_only_from is None else now.read_only_from - utc_now()
    return Licence(
        edition="community" if now.state == "unconfigured" else "licensed",
        state=now.state,
        reason=now.reason,
        licence_id=now.licence_id,
        customer=now.customer,
        valid_until=now.valid_until,
        confirmed_at=now.confirmed_at,
        features=list(now.features),
        limits=Limits.model_validate(now.entitlements),
        read_only=now.read_only,
        read_only_from=now.read_only_from,
        hours_left=None if left is None else max(0.0, round(left.total_seconds() / 3600, 1)),
        notice=now.notice,
    )


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        "/api/v1/licence", show_licence, tags=["operations"], responses=errors(401, 503)
    )
