"""Destinations of transmit (TRX-01), with their test."""

from typing import Final

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.resources.served import serve
from darkroom_common.messages.requests import EchoDestination
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.specs.destinations import Name

ECHO_LIMIT: Final = 60.0


class EchoResult(BaseModel):
    """What became of a test."""

    ok: bool
    reason: str = Field(description="a word of docs/transmit.md; empty when all is well")
    detail: str
    seconds: float


async def echo(request: Request, name: Name) -> EchoResult:
    """Test a destination now: connect, negotiate, C-ECHO. It says what happened, in 200."""
    reply = await ask(request.scope, EchoDestination(name=name), limit=ECHO_LIMIT)
    return EchoResult.model_validate(reply.body)


def add(app: FastAPI) -> None:
    """Add the routes."""
    serve(app, DESTINATIONS)
    app.add_api_route(
        f"{DESTINATIONS.path}/{{name}}/echo",
        echo,
        methods=["POST"],
        tags=[DESTINATIONS.tag],
        responses=errors(401, 403, 404, 422, 500, 503),
    )
