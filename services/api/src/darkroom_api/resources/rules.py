"""Routing rules of transmit (TRX-07), with what they would do."""

from typing import Final

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.parts import parts_of
from darkroom_api.resources.served import serve
from darkroom_common.messages.base import Uid
from darkroom_common.messages.requests import DryRunRules
from darkroom_common.resources.declared import RULES
from darkroom_common.specs.rules import Prefetch

EXPLAIN_LIMIT: Final = 20.0


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


async def dry_run(request: Request, given: DryRun) -> Explanation:
    """Explain what the rules would do with a stored study, and why. Nothing is sent."""
    message = DryRunRules(study_instance_uid=given.study_instance_uid)
    reply = await ask(request.scope, message, limit=EXPLAIN_LIMIT)
    opened = parts_of(request.scope).seal.open(reply.sealed, purpose=DryRunRules.TYPE)
    return Explanation.model_validate(opened)


def add(app: FastAPI) -> None:
    """Add the routes."""
    serve(app, RULES)
    app.add_api_route(
        f"{RULES.path}/dry-run",
        dry_run,
        methods=["POST"],
        tags=[RULES.tag],
        responses=errors(400, 401, 403, 404, 413, 422, 500, 503),
    )
