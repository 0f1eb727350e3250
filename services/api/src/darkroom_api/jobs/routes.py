"""The routes that every kind of job has: ask for one, list, show, act on it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import BaseModel, create_model
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import ETAG, IfMatch, IfNoneMatch, answer, require, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JOBS, LINKED, Catalogue, JobsQuery, Listed, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.typed import typed
from darkroom_api.jobs.accepted import JobView, withdraw
from darkroom_api.jobs.once import IDEMPOTENCY_KEY
from darkroom_common.messages.base import MessageId
from darkroom_common.messages.base import Request as Asked
from darkroom_common.postgres.pool import Connection


@dataclass(frozen=True)
class JobRoutes:
    """What the routes of a kind of job need.

    Attributes:
        view: the jobs.
        tag: of the routes in OpenAPI.
        model: what is shown of a job in a list; its `state` has all states of the kind.
        search: what the list is narrowed by.
        act: the request to the owner to act on a job; None: only what has not gone out is acted on.
        acts: what can be done with a job, and what that means.
        detail: what is shown of a single job; as in a list when there is no more.
        more: returns what `detail` has besides.
        shown: makes of a row what the model takes.
    """

    view: JobView
    tag: str
    model: type[BaseModel]
    search: type[JobsQuery]
    act: type[Asked] | None
    acts: Mapping[str, str]
    detail: type[BaseModel] | None = None
    more: Callable[[Connection, str], Awaitable[Mapping[str, Any]]] | None = None
    shown: Callable[[Any], Mapping[str, Any]] = dict

    def serve(self, app: FastAPI) -> None:
        """Add the routes to list and show jobs, and to act on them."""
        one = f"{self.view.path}/{{job}}"
        page: Any = Listed.__class_getitem__(self.model)
        listed = {"asked": Annotated[self.search, Query()], "return": page}
        self._route(app, self.view.path, self._list, "List jobs, newest first", listed)
        detail = {"return": self.detail or self.model}
        self._route(app, one, self._show, "Show a job, as it is", detail)
        state: Any = self.model.model_fields["state"].annotation
        name, text = f"{self.model.__name__}Changed", "The state of a job after it was acted on."
        changed = create_model(name, __doc__=text, job_id=(str, ...), state=(state, ...))
        for action, meaning in self.acts.items():
            app.add_api_route(
                f"{one}/{action}",
                typed(self._action(action), {"return": changed}),
                methods=["POST"],
                tags=[self.tag],
                name=action,
                description=meaning,
                responses=errors(401, 403, 404, 409, 422, 500, 503),
            )

    def accept(self, app: FastAPI, endpoint: Callable[..., Any], path: str = "") -> None:
        """Add the route that asks for a job, at the path of the list or another."""
        app.add_api_route(
            path or self.view.path,
            endpoint,
            methods=["POST"],
            status_code=202,
            tags=[self.tag],
            responses=errors(400, 401, 403, 404, 409, 413, 422, 503),
            openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
        )

    def _route(
        self, app: FastAPI, path: str, endpoint: Callable[..., Any], name: str, types: Any
    ) -> None:
        one = {200: {"headers": ETAG}, **errors(401, 403, 404, 422, 503)}
        app.add_api_route(
            path,
            typed(endpoint, types),
            tags=[self.tag],
            name=name,
            responses={**LINKED, **errors(401, 403, 422, 503)} if "asked" in types else one,
        )

    def _model(self, row: Any) -> BaseModel:
        return self.model.model_validate(self.shown(row))

    async def _list(
        self, request: HttpRequest, response: Response, asked: Any
    ) -> Listed[BaseModel]:
        catalogue = Catalogue(self.view.source, JOBS, self._model)
        return await list_of(request, response, asked, catalogue)

    async def _show(
        self, request: HttpRequest, job: MessageId, if_none_match: IfNoneMatch = None
    ) -> Response:
        return unless_known(answer(await self._current(request, job)), if_none_match)

    async def _current(self, request: HttpRequest, job: str) -> dict[str, Any]:
        async with parts_of(request.scope).database.acquire() as db:
            row = await self.view.find(db, job)
            more = {} if self.more is None else await self.more(db, job)
        model = (self.detail or self.model).model_validate({**self.shown(row), **more})
        return model.model_dump()

    def _action(self, action: str) -> Callable[..., Awaitable[dict[str, Any]]]:
        async def act(
            request: HttpRequest, job: MessageId, if_match: IfMatch = None
        ) -> dict[str, Any]:
            if if_match is not None:
                require(if_match, await self._current(request, job))
            state = await withdraw(request, self.view, job, action)
            if state is None and self.act is None:
                raise ApiError(409, Code.CONFLICT, "The job has been taken, and is carried out.")
            if state is None and self.act is not None:
                by = principal_of(request.scope).username[:64]
                given = {"job_id": job, "action": action, "requested_by": by}
                reply = await ask(request.scope, self.act.model_validate(given))
                state = reply.body["state"]
            return {"job_id": job, "state": state}

        return act
