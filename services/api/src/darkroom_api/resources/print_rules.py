"""Auto-print rules: films that are made when a study is complete."""

import datetime as dt
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, NAMES, Catalogue, Listed, NamesQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_common.messages.printing import DeletePrintRule, PutPrintRule
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.printers import PrintRuleSpec

_RULE: Final = "SELECT name, spec::text, version, created_at, updated_at FROM print.rule"


class NewPrintRule(PrintRuleSpec):
    """A rule to add."""

    name: Name


class PrintRule(PrintRuleSpec):
    """A rule as it is."""

    name: str
    version: int = Field(description="grows with every change")
    created_at: dt.datetime
    updated_at: dt.datetime


def _shown(row: Any) -> PrintRule:
    spec = PrintRuleSpec.model_validate_json(row["spec"])
    beside = {name: row[name] for name in row.keys() if name != "spec"}  # noqa: SIM118 - a Record
    return PrintRule.model_validate({**spec.model_dump(), **beside})


_LIST: Final = Catalogue(_RULE, NAMES, _shown)


async def list_print_rules(
    request: Request, response: Response, asked: Annotated[NamesQuery, Query()]
) -> Listed[PrintRule]:
    """List all auto-print rules."""
    return await list_of(request, response, asked, _LIST)


async def show_print_rule(request: Request, name: Name) -> PrintRule:
    """Show one auto-print rule."""
    async with parts_of(request.scope).database.acquire() as db:
        row = await db.fetchrow(_RULE + " WHERE name = $1", name)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no rule of this name.")
    return _shown(row)


async def _put(request: Request, name: str, given: PrintRuleSpec, *, only_new: bool) -> str:
    spec = PrintRuleSpec.model_validate(given.model_dump(include=set(PrintRuleSpec.model_fields)))
    by = principal_of(request.scope).username[:64]
    reply = await ask(
        request.scope, PutPrintRule(name=name, rule=spec, only_new=only_new, requested_by=by)
    )
    return reply.outcome


async def add_print_rule(request: Request, response: Response, given: NewPrintRule) -> PrintRule:
    """Add an auto-print rule."""
    await _put(request, given.name, given, only_new=True)
    response.headers["location"] = f"/api/v1/print/rules/{given.name}"
    return await show_print_rule(request, given.name)


async def change_print_rule(
    request: Request, response: Response, name: Name, given: PrintRuleSpec
) -> PrintRule:
    """Change an auto-print rule, or add it under this name."""
    if await _put(request, name, given, only_new=False) == "created":
        response.status_code = 201
    return await show_print_rule(request, name)


async def remove_print_rule(request: Request, name: Name) -> Response:
    """Remove an auto-print rule; jobs that it has made stay."""
    by = principal_of(request.scope).username[:64]
    await ask(request.scope, DeletePrintRule(name=name, requested_by=by))
    return Response(status_code=204)


def add(app: FastAPI) -> None:
    """Add the routes."""
    base, tags = "/api/v1/print/rules", ["print"]
    one = f"{base}/{{name}}"
    app.add_api_route(
        base, list_print_rules, tags=[*tags], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        base,
        add_print_rule,
        methods=["POST"],
        status_code=201,
        tags=[*tags],
        responses=errors(400, 401, 403, 404, 409, 413, 422, 500, 503),
    )
    app.add_api_route(one, show_print_rule, tags=[*tags], responses=errors(401, 403, 404, 422, 503))
    app.add_api_route(
        one,
        change_print_rule,
        methods=["PUT"],
        tags=[*tags],
        responses={
            201: {"description": "It was added.", "model": PrintRule},
            **errors(400, 401, 403, 404, 413, 422, 500, 503),
        },
    )
    app.add_api_route(
        one,
        remove_print_rule,
        methods=["DELETE"],
        status_code=204,
        tags=[*tags],
        response_class=Response,
        responses=errors(401, 403, 404, 422, 500, 503),
    )
