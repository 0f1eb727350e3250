"""Destinations of transmit: list, show, add, change, remove, test (TRX-01)."""

import datetime as dt
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field, SecretStr
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, NAMES, Catalogue, Listed, NamesQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_common.messages.transmit import DeleteDestination, EchoDestination, PutDestination
from darkroom_common.specs.destinations import DestinationSpec, Name

ECHO_LIMIT: Final = 60.0
_DESTINATION: Final = (
    "SELECT name, spec::text, version, breaker, breaker_reason, breaker_until, created_at,"
    " updated_at FROM transmit.destination"
)


class DestinationChange(DestinationSpec):
    """A destination as it is to be."""

    secret: SecretStr | None = Field(
        default=None,
        max_length=4096,
        description="password or token of `auth`; left out: as it was. It is never shown",
    )


class NewDestination(DestinationChange):
    """A destination to add."""

    name: Name


class Destination(DestinationSpec):
    """A destination as it is."""

    name: str
    version: int = Field(description="grows with every change")
    breaker: str = Field(description="closed: in use; open: given up for a while; half-open")
    breaker_reason: str
    breaker_until: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


class EchoResult(BaseModel):
    """What became of a test."""

    ok: bool
    reason: str = Field(description="a word of docs/transmit.md; empty when all is well")
    detail: str
    seconds: float


def _shown(row: Any) -> Destination:
    spec = DestinationSpec.model_validate_json(row["spec"])
    beside = {name: row[name] for name in row.keys() if name != "spec"}  # noqa: SIM118 - a Record
    return Destination.model_validate({**spec.model_dump(), **beside})


_LIST: Final = Catalogue(_DESTINATION, NAMES, _shown)


async def list_destinations(
    request: Request, response: Response, asked: Annotated[NamesQuery, Query()]
) -> Listed[Destination]:
    """List all destinations."""
    return await list_of(request, response, asked, _LIST)


async def show_destination(request: Request, name: Name) -> Destination:
    """Show one destination."""
    async with parts_of(request.scope).database.acquire() as db:
        row = await db.fetchrow(_DESTINATION + " WHERE name = $1", name)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no destination of this name.")
    return _shown(row)


async def _put(request: Request, name: str, given: DestinationChange, *, only_new: bool) -> str:
    sealed = ""
    if given.secret is not None:
        seal = parts_of(request.scope).seal
        sealed = seal.seal(given.secret.get_secret_value(), purpose=PutDestination.TYPE)
    reply = await ask(
        request.scope,
        PutDestination(
            name=name,
            destination=DestinationSpec.model_validate(
                given.model_dump(include=set(DestinationSpec.model_fields))
            ),
            only_new=only_new,
            sealed=sealed,
            requested_by=principal_of(request.scope).username[:64],
        ),
    )
    return reply.outcome


async def add_destination(
    request: Request, response: Response, given: NewDestination
) -> Destination:
    """Add a destination."""
    await _put(request, given.name, given, only_new=True)
    response.headers["location"] = f"/api/v1/destinations/{given.name}"
    return await show_destination(request, given.name)


async def change_destination(
    request: Request, response: Response, name: Name, given: DestinationChange
) -> Destination:
    """Change a destination, or add it under this name."""
    if await _put(request, name, given, only_new=False) == "created":
        response.status_code = 201
    return await show_destination(request, name)


async def remove_destination(request: Request, name: Name) -> Response:
    """Remove a destination that no rule names and no job waits for."""
    by = principal_of(request.scope).username[:64]
    await ask(request.scope, DeleteDestination(name=name, requested_by=by))
    return Response(status_code=204)


async def echo(request: Request, name: Name) -> EchoResult:
    """Test a destination now: connect, negotiate, C-ECHO. It says what happened, in 200."""
    reply = await ask(request.scope, EchoDestination(name=name), limit=ECHO_LIMIT)
    return EchoResult.model_validate(reply.body)


def add(app: FastAPI) -> None:
    """Add the routes."""
    base, tags = "/api/v1/destinations", ["destinations"]
    one = f"{base}/{{name}}"
    app.add_api_route(
        base, list_destinations, tags=[*tags], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        base,
        add_destination,
        methods=["POST"],
        status_code=201,
        tags=[*tags],
        responses=errors(400, 401, 403, 409, 413, 422, 500, 503),
    )
    app.add_api_route(
        one, show_destination, tags=[*tags], responses=errors(401, 403, 404, 422, 503)
    )
    app.add_api_route(
        one,
        change_destination,
        methods=["PUT"],
        tags=[*tags],
        responses={
            201: {"description": "It was added.", "model": Destination},
            **errors(400, 401, 403, 413, 422, 500, 503),
        },
    )
    app.add_api_route(
        one,
        remove_destination,
        methods=["DELETE"],
        status_code=204,
        tags=[*tags],
        response_class=Response,
        responses=errors(401, 403, 404, 409, 422, 500, 503),
    )
    app.add_api_route(
        f"{one}/echo",
        echo,
        methods=["POST"],
        tags=[*tags],
        responses=errors(401, 403, 404, 422, 500, 503),
    )
