"""Sessions of other people: where they are signed in, and how that ends (API-06)."""

import uuid
from typing import Annotated, Final

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.accounts import sessions
from darkroom_api.accounts.own_routes import SESSION_ORDERS, Session, SessionsQuery
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.lists import LINKED, Catalogue, Listed, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.people.administration import administration, require_all, rights_of
from darkroom_api.people.users import BASE, find_user

_SESSIONS: Final = BASE + "/{user_id}/sessions"
_LIST: Final = Catalogue(sessions.LISTED, SESSION_ORDERS, lambda row: Session(**dict(row)))


async def list_sessions(
    request: Request,
    response: Response,
    user_id: uuid.UUID,
    asked: Annotated[SessionsQuery, Query()],
) -> Listed[Session]:
    """List the sessions of a user that have not ended."""
    async with parts_of(request.scope).database.acquire() as db:
        await find_user(db, user_id)
    return await list_of(request, response, asked, _LIST, {"of_user": str(user_id)})


async def end_sessions(request: Request, user_id: uuid.UUID) -> Response:
    """End all sessions of a user; API keys stay."""
    async with administration(request) as (db, held):
        await find_user(db, user_id)
        require_all(await rights_of(db, user_id), held)
        await sessions.end_all(db, user_id)
        await record(db, request.scope, Action.AUTH_LOGOUT, "user", str(user_id))
    return Response(status_code=204)


async def end_session(request: Request, user_id: uuid.UUID, session_id: uuid.UUID) -> Response:
    """End one session of a user."""
    async with administration(request) as (db, held):
        await find_user(db, user_id)
        require_all(await rights_of(db, user_id), held)
        if not await sessions.end_own(db, session_id, user_id):
            raise ApiError(404, Code.NOT_FOUND, "The user has no such session.")
        await record(db, request.scope, Action.AUTH_LOGOUT, "session", str(session_id))
    return Response(status_code=204)


def add(app: FastAPI) -> None:
    """Add the routes."""
    tags: Final = ["users and roles"]
    app.add_api_route(
        _SESSIONS,
        list_sessions,
        tags=[*tags],
        operation_id="list_user_sessions",
        responses={**LINKED, **errors(401, 403, 404, 422, 503)},
    )
    for path, endpoint, name in (
        (_SESSIONS, end_sessions, "end_user_sessions"),
        (_SESSIONS + "/{session_id}", end_session, "end_user_session"),
    ):
        app.add_api_route(
            path,
            endpoint,
            methods=["DELETE"],
            status_code=204,
            tags=[*tags],
            operation_id=name,
            responses=errors(401, 403, 404, 409, 422, 503),
        )
