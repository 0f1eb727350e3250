"""The five routes of a resource, as `darkroom_common.resources.declared` has it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Generic, Literal
from urllib.parse import quote

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field, SecretStr, create_model
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import (
    ETAG,
    IfMatch,
    IfNoneMatch,
    answer,
    named_version,
    names_one,
    unless_known,
)
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.typed import typed
from darkroom_api.licence.decision import NEW_WORK
from darkroom_api.licence.standing import most_of
from darkroom_common.messages.resources import delete, put
from darkroom_common.postgres.listing import Order
from darkroom_common.resources.reader import read_one, rows_of, shown
from darkroom_common.resources.resource import Resource, S
from darkroom_common.specs.base import ResourceSpec, as_spec, strict

_OF_LISTS: Final = ("link", "x-total-count")
_UNREADABLE: Final = Field(
    description="fields that this version does not understand, shown as they are stored; while"
    " there are any, it is not in use"
)
_SECRET: Final = Field(
    default=None, max_length=4096, description="left out: as it was. It is never shown"
)


class Shown(BaseModel):
    """What is shown of every resource."""

    name: str
    version: int = Field(description="grows with every change")
    created_at: datetime
    updated_at: datetime
    unreadable: list[str] = _UNREADABLE


class Models:
    """What the routes of a resource take and show, as OpenAPI has it."""

    def __init__(self, resource: Resource[Any], state: type[BaseModel]) -> None:
        noun = "".join(word.title() for word in resource.title.replace("-", " ").split())
        text = f"A {resource.title}."
        model: type[ResourceSpec] = resource.spec
        spec = strict(model)
        secret: dict[str, Any] = {"secret": (SecretStr | None, _SECRET)} if resource.secret else {}
        sort = next(iter(resource.order))
        word: Any = Literal[sort, f"-{sort}"]
        named: dict[str, Any] = {"name": (resource.key, ...)}
        self.change: Any = create_model(f"{noun}Change", __base__=spec, __doc__=text, **secret)
        self.new: Any = create_model(f"New{noun}", __base__=self.change, __doc__=text, **named)
        self.shown: Any = create_model(noun, __base__=(Shown, state, spec), __doc__=text)
        self.made: Any = self.shown
        self.query: Any = create_model(f"{noun}Query", __base__=ListQuery, sort=(word, sort))
        self.orders = {
            sort: Order(resource.order),
            f"-{sort}": Order(resource.order, descending=True),
        }


class Served(Generic[S]):
    """Answers to list, add, show, change and remove.

    Args:
        resource: what.
        state: what is shown beside the spec.
    """

    def __init__(self, resource: Resource[S], state: type[BaseModel]) -> None:
        self.resource = resource
        self.models = Models(resource, state)
        self._state = state
        self._catalogue = Catalogue(
            rows_of(resource), self.models.orders, lambda row: shown(row, resource, state)
        )

    async def list(self, request: Request, asked: Any) -> Response:
        """Answer a page."""
        linked = Response()
        found = await list_of(request, linked, asked, self._catalogue)
        kept = {name: linked.headers[name] for name in _OF_LISTS if name in linked.headers}
        return Response(to_json(found), headers=kept, media_type="application/json")

    async def show(
        self, request: Request, name: Any, if_none_match: IfNoneMatch = None
    ) -> Response:
        """Answer one, unless it is known."""
        return unless_known(await self._shown(request, name), if_none_match)

    async def add(self, request: Request, given: Any) -> Response:
        """Add one."""
        await self._put(request, given.name, given, only_new=True)
        added = await self._made(request, given.name)
        added.headers["location"] = f"{self.resource.path}/{quote(given.name, safe='')}"
        return added

    async def replace(
        self, request: Request, name: Any, given: Any, if_match: IfMatch = None
    ) -> Response:
        """Change one, or add it."""
        version = await self._version(request, name, if_match)
        outcome = await self._put(request, name, given, version=version)
        if outcome == "created":
            return await self._made(request, name)
        return await self._shown(request, name)

    async def remove(self, request: Request, name: Any, if_match: IfMatch = None) -> Response:
        """Remove one."""
        version = await self._version(request, name, if_match)
        await self._delete(request, name, version)
        return Response(status_code=204)

    async def _delete(self, request: Request, name: str, version: int | None) -> None:
        by = principal_of(request.scope).username[:64]
        await ask(request.scope, delete(self.resource, name, requested_by=by, version=version))

    async def _made(self, request: Request, name: str) -> Response:
        """Answer with what is new."""
        return await self._shown(request, name, 201)

    async def _shown(self, request: Request, name: str, status: int = 200) -> Response:
        found = await self._current(request, name)
        return answer(found, status, version=named_version(found))

    async def _find(self, request: Request, name: str) -> dict[str, Any] | None:
        async with parts_of(request.scope).database.acquire() as db:
            return await read_one(db, self.resource, self._state, name)

    async def _current(self, request: Request, name: str) -> dict[str, Any]:
        found = await self._find(request, name)
        if found is None:
            title = self.resource.title
            raise ApiError(404, Code.NOT_FOUND, f"There is no {title} of this name.")
        return found

    async def _version(self, request: Request, name: str, if_match: str | None) -> int | None:
        """Return the version to change; None for whichever there is."""
        if if_match is None:
            return None
        found = await self._find(request, name)
        if found is None or not names_one(if_match, found):
            title = self.resource.title
            raise ApiError(412, Code.CHANGED_MEANWHILE, f"This {title} has been changed meanwhile.")
        version: int = found["version"]
        return version

    async def _put(self, request: Request, name: str, given: Any, **more: Any) -> str:
        secret = getattr(given, "secret", None)
        if secret is not None:
            seal = parts_of(request.scope).seal
            purpose = self.resource.type("put")
            more["sealed"] = seal.seal(secret.get_secret_value(), purpose=purpose)
        spec = as_spec(self.resource.spec, given)
        by = principal_of(request.scope).username[:64]
        work = NEW_WORK.get(("POST", self.resource.path))
        if work is not None:
            async with parts_of(request.scope).database.acquire() as db:
                more["most"] = await most_of(db, work)
        reply = await ask(request.scope, put(self.resource, name, spec, requested_by=by, **more))
        return reply.outcome


def serve(
    app: FastAPI,
    resource: Resource[S],
    state: type[BaseModel] | None = None,
    of: type[Served[S]] = Served,
) -> None:
    """Add the routes of a resource; `state` shows more than its columns, `of` does more."""
    served = of(resource, state or resource.state)
    models, title, path = served.models, resource.title, resource.path
    one = f"{path}/{resource.in_path}"
    shown_as = {"model": models.shown, "headers": ETAG}
    page: Any = Listed.__class_getitem__(models.shown)
    listed = {**LINKED[200], "model": page}
    named = {"name": resource.key, "given": models.change}
    query = {"asked": Annotated[models.query, Query()]}

    def route(
        method: str,
        path: str,
        endpoint: Callable[..., Any],
        types: Mapping[str, Any],
        said: tuple[str, int, Mapping[int | str, Any]],
    ) -> None:
        text, status, responses = said
        app.add_api_route(
            path,
            typed(endpoint, types),
            methods=[method],
            status_code=status,
            tags=[resource.tag],
            name=text.format(title),
            response_class=Response,
            responses=dict(responses),
        )

    failed = errors(400, 401, 403, 404, 409, 413, 422, 500, 503)
    if ("POST", path) in NEW_WORK:
        failed |= errors(402)
    pages = {**errors(401, 403, 422, 503), 200: listed}
    made_as = {**shown_as, "model": models.made}
    added = {**failed, 201: made_as}
    found = {**errors(401, 403, 404, 422, 503), 200: shown_as}
    put_as = {**failed, 200: shown_as, 201: made_as}
    gone = errors(401, 403, 404, 409, 422, 500, 503)
    route("GET", path, served.list, query, ("List {}s", 200, pages))
    route("POST", path, served.add, {"given": models.new}, ("Add a {}", 201, added))
    route("GET", one, served.show, named, ("Show a {}", 200, found))
    route("PUT", one, served.replace, named, ("Change a {}, or add it", 200, put_as))
    route("DELETE", one, served.remove, named, ("Remove a {}", 204, gone))
