"""Other nodes: what they have, and what is scheduled there (TRX-09, TRX-11)."""

from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import body, errors
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import DICOM_JSON, json_response
from darkroom_common.messages.base import Reply
from darkroom_common.messages.base import Request as Message
from darkroom_common.messages.requests import QueryRemote, QueryWorklist
from darkroom_common.specs.base import as_spec, strict
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.remote import RemoteQuery, WorklistQuery

LIMIT: Final = 100.0
"""Seconds; transmit gives up before."""
_CUT: Final = '299 darkroom "There are more matches than the limit."'


@strict
class RemoteSearch(RemoteQuery):
    """What to ask a destination."""


@strict
class WorklistSearch(WorklistQuery):
    """Which scheduled procedure steps of which destination to list."""

    remote: Name


async def asked(
    request: Request, kind: type[Message], content: BaseModel, **named: str | int | None
) -> tuple[Reply, Any]:
    """Return the reply to a request whose body is sealed, and what the reply seals.

    Raises:
        ApiError: see `ask`; 502 and 504 tell what the other node did.
    """
    seal = parts_of(request.scope).seal
    by = principal_of(request.scope).username[:64]
    sealed = seal.seal(content.model_dump(mode="json"), purpose=kind.TYPE)
    message = kind.model_validate({**named, "sealed": sealed, "requested_by": by})
    reply = await ask(request.scope, message, limit=LIMIT)
    opened = seal.open(reply.sealed, purpose=kind.TYPE) if reply.sealed else None
    return reply, opened


async def _matches(
    request: Request, kind: type[Message], content: BaseModel, remote: str
) -> Response:
    _, found = await asked(request, kind, content, remote=remote)
    headers = {"warning": _CUT} if found["truncated"] else {}
    return await json_response(request, found["matches"], headers=headers)


async def query(request: Request, name: Name, given: RemoteSearch) -> Response:
    """Ask a destination what it has, by C-FIND; the answer is DICOM JSON as of QIDO-RS.

    A `Warning: 299` says that there is more than the limit.
    """
    return await _matches(request, QueryRemote, given, name)


async def worklist(request: Request, given: WorklistSearch) -> Response:
    """List scheduled procedure steps of a modality worklist, by C-FIND, as DICOM JSON."""
    content = as_spec(WorklistQuery, given)
    return await _matches(request, QueryWorklist, content, given.remote)


def add(app: FastAPI) -> None:
    """Add the routes."""
    failures = errors(400, 401, 403, 404, 413, 422, 500, 502, 503, 504)
    for path, endpoint, text in (
        ("/api/v1/remote/{name}/query", query, "Matches."),
        ("/api/v1/worklist/query", worklist, "Scheduled procedure steps."),
    ):
        app.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            tags=["remote"],
            response_class=Response,
            responses={**body(text, DICOM_JSON), **failures},
        )
