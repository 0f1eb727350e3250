"""Routing rules of transmit: list, show, add, change, remove, explain (TRX-07)."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_common.messages.base import Uid
from darkroom_common.messages.transmit import DeleteRule, DryRunRules, PutRule
from darkroom_common.postgres.listing import Key, Order
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.rules import Prefetch, RuleSpec

_RULE: Final = (
    "SELECT name, position, spec::text, version, created_at, updated_at FROM transmit.rule"
)
_KEYS: Final[dict[str, type[Key]]] = {"position": int, "name": str}
_ORDERS: Final = {"position": Order(_KEYS), "-position": Order(_KEYS, descending=True)}
EXPLAIN_LIMIT: Final = 20.0


class RulesQuery(ListQuery):
    """Which page of the rules; by their position is the order in which they are looked at."""

    sort: Literal["position", "-position"] = "position"


class NewRule(RuleSpec):
    """A rule to add."""

    name: Name


class Rule(RuleSpec):
    """A rule as it is."""

    name: str
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


class DryRun(BaseModel):
    """Which study to explain."""

    model_config = ConfigDict(hide_input_in_errors=True, extra="forbid")

    study_instance_uid: Uid


class ExplainedCondition(BaseModel):
    """One condition of a rule."""

    condition: str
    matched: bool
    expected: str
    found: str


class ExplainedRule(BaseModel):
    """What a rule says of a series."""

    rule: str
    when: str
    matched: bool
    skipped: str = Field(description="why it was not looked at; empty when it was")
    destinations: list[str]
    stop: bool
    prefetch: Prefetch | None = Field(description="which priors it has retrieved")
    conditions: list[ExplainedCondition]


class ExplainedSeries(BaseModel):
    """What the rules say of a series."""

    series_instance_uid: str
    modality: str
    instances: int
    rules: list[ExplainedRule]


class AlreadyRouted(BaseModel):
    """What was routed before and is not sent again by the rule."""

    rule: str
    destination: str
    instances: int


class Explanation(BaseModel):
    """What the rules would do with a study as it is stored; nothing is sent."""

    study_instance_uid: str
    is_prior: bool = Field(description="retrieved as a prior itself: no rule wants priors of it")
    series: list[ExplainedSeries]
    already_routed: list[AlreadyRouted]


def _shown(row: Any) -> Rule:
    spec = RuleSpec.model_validate_json(row["spec"])
    beside = {name: row[name] for name in row.keys() if name not in ("spec", "position")}  # noqa: SIM118 - a Record
    return Rule.model_validate({**spec.model_dump(), **beside})


_LIST: Final = Catalogue(_RULE, _ORDERS, _shown)


async def list_rules(
    request: Request, response: Response, asked: Annotated[RulesQuery, Query()]
) -> Listed[Rule]:
    """List all rules in their order."""
    return await list_of(request, response, asked, _LIST)


async def show_rule(request: Request, name: Name) -> Rule:
    """Show one rule."""
    async with parts_of(request.scope).database.acquire() as db:
        row = await db.fetchrow(_RULE + " WHERE name = $1", name)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no rule of this name.")
    return _shown(row)


async def _put(request: Request, name: str, given: RuleSpec, *, only_new: bool) -> str:
    spec = RuleSpec.model_validate(given.model_dump(include=set(RuleSpec.model_fields)))
    by = principal_of(request.scope).username[:64]
    reply = await ask(
        request.scope, PutRule(name=name, rule=spec, only_new=only_new, requested_by=by)
    )
    return reply.outcome


async def add_rule(request: Request, response: Response, given: NewRule) -> Rule:
    """Add a rule."""
    await _put(request, given.name, given, only_new=True)
    response.headers["location"] = f"/api/v1/rules/{given.name}"
    return await show_rule(request, given.name)


async def change_rule(request: Request, response: Response, name: Name, given: RuleSpec) -> Rule:
    """Change a rule, or add it under this name."""
    if await _put(request, name, given, only_new=False) == "created":
        response.status_code = 201
    return await show_rule(request, name)


async def remove_rule(request: Request, name: Name) -> Response:
    """Remove a rule; its jobs stay."""
    by = principal_of(request.scope).username[:64]
    await ask(request.scope, DeleteRule(name=name, requested_by=by))
    return Response(status_code=204)


async def dry_run(request: Request, given: DryRun) -> Explanation:
    """Explain what the rules would do with a stored study, and why. Nothing is sent."""
    message = DryRunRules(study_instance_uid=given.study_instance_uid)
    reply = await ask(request.scope, message, limit=EXPLAIN_LIMIT)
    opened = parts_of(request.scope).seal.open(reply.sealed, purpose=DryRunRules.TYPE)
    return Explanation.model_validate(opened)


def add(app: FastAPI) -> None:
    """Add the routes."""
    base, tags = "/api/v1/rules", ["rules"]
    one = f"{base}/{{name}}"
    app.add_api_route(
        base, list_rules, tags=[*tags], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        base,
        add_rule,
        methods=["POST"],
        status_code=201,
        tags=[*tags],
        responses=errors(400, 401, 403, 404, 409, 413, 422, 500, 503),
    )
    app.add_api_route(
        f"{base}/dry-run",
        dry_run,
        methods=["POST"],
        tags=[*tags],
        responses=errors(400, 401, 403, 404, 413, 422, 500, 503),
    )
    app.add_api_route(one, show_rule, tags=[*tags], responses=errors(401, 403, 404, 422, 503))
    app.add_api_route(
        one,
        change_rule,
        methods=["PUT"],
        tags=[*tags],
        responses={
            201: {"description": "It was added.", "model": Rule},
            **errors(400, 401, 403, 404, 413, 422, 500, 503),
        },
    )
    app.add_api_route(
        one,
        remove_rule,
        methods=["DELETE"],
        status_code=204,
        tags=[*tags],
        response_class=Response,
        responses=errors(401, 403, 404, 422, 500, 503),
    )
