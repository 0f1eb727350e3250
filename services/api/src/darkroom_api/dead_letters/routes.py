"""Dead letters for operators: list, inspect, replay, discard."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.accounts.guard import still_holds
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.dead_letters import letters
from darkroom_api.dead_letters.letters import DeadLetter, DeadLetterDetail, State
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, token_invalid
from darkroom_api.http.etags import ETAG, IfMatch, IfNoneMatch, answer, names_version, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.acts import KEY, act_of
from darkroom_common.postgres.pool import after_commit

_BASE: Final = "/api/v1/dead-letters"
_ONE: Final = _BASE + "/{letter_id}"
_TAG: Final = "dead letters"
_RESOURCE: Final = "dead_letter"
_LIST: Final = Catalogue(
    letters.COLUMNS, letters.ORDERS, lambda row: DeadLetter.model_validate(letters.shown(row))
)


class LetterSearch(ListQuery):
    """What the list is narrowed by."""

    sort: Literal["-died_at", "died_at"] = "-died_at"
    queue: str | None = Field(default=None, max_length=64)
    type: str | None = Field(default=None, max_length=128)
    state: State | None = None


async def list_letters(
    request: Request, response: Response, asked: Annotated[LetterSearch, Query()]
) -> Listed[DeadLetter]:
    """List messages that were given up, newest first."""
    return await list_of(request, response, asked, _LIST)


async def show_letter(
    request: Request, letter_id: str, if_none_match: IfNoneMatch = None
) -> Response:
    """Show why a message was given up and what it is about, by ids alone."""
    async with parts_of(request.scope).database.transaction() as db:
        found = letters.detail(await _found(db, letter_id))
        await record(db, request.scope, Action.DEAD_LETTER_READ, _RESOURCE, found["letter_id"])
    return unless_known(answer(found), if_none_match)


async def _found(db: Any, letter_id: str) -> Any:
    row = await letters.find(db, letter_id)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such dead letter.")
    return row


def _changing(state: State, action: Action) -> Callable[..., Awaitable[Response]]:
    async def act(request: Request, letter_id: str, if_match: IfMatch = None) -> Response:
        parts, principal = parts_of(request.scope), principal_of(request.scope)
        async with parts.database.transaction() as db:
            if not await still_holds(db, principal):
                parts.guard.forget()
                raise token_invalid()
            row = await _found(db, letter_id)
            if (await act_of(db, request)).said is not None:
                return _answer(row)
            if if_match is not None and not names_version(if_match, row["version"]):
                raise ApiError(412, Code.CHANGED_MEANWHILE, "It has been changed meanwhile.")
            if await letters.change(db, letter_id, state, principal.username[:64]):
                told = {name: row[name] for name in ("queue", "type", "message_id")}
                await record(db, request.scope, action, _RESOURCE, row["letter_id"], details=told)
                after_commit(db, parts.dead_letters.wake)
            row = await _found(db, letter_id)
            if row["state"] not in {state, _AFTER.get(state)}:
                raise ApiError(409, Code.CONFLICT, f"It is {row['state']} already.")
        return _answer(row)

    return act


def _answer(row: Any) -> Response:
    return answer(letters.detail(row), 202 if row["state"] == "REPLAYING" else 200)


_ACTS: Final[dict[str, tuple[State, Action, str]]] = {
    "replay": ("REPLAYING", Action.DEAD_LETTER_REPLAY, "Have it worked on again, once."),
    "discard": ("DISCARDED", Action.DEAD_LETTER_DISCARD, "Delete it for good."),
}
_AFTER: Final[dict[State, State]] = {"REPLAYING": "REPLAYED"}


def add(app: FastAPI) -> None:
    """Add the routes."""
    shown: dict[str, Any] = {"model": DeadLetterDetail, "headers": ETAG}
    app.add_api_route(
        _BASE, list_letters, tags=[_TAG], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        _ONE,
        show_letter,
        tags=[_TAG],
        response_class=Response,
        responses={200: shown, **errors(401, 403, 404, 422, 503)},
    )
    failed = errors(401, 403, 404, 409, 422, 503)
    for word, (state, action, text) in _ACTS.items():
        app.add_api_route(
            f"{_ONE}/{word}",
            _changing(state, action),
            methods=["POST"],
            name=f"{word}_dead_letter",
            description=text,
            tags=[_TAG],
            response_class=Response,
            responses={
                200: {"description": "It is done.", **shown},
                202: {"description": "It is kept, and will be done.", **shown},
                **failed,
            },
            openapi_extra=KEY,
        )
