"""Health on the public port, and the metrics of all services in the local stack."""

from secrets import compare_digest
from typing import Literal

import httpx
from fastapi import FastAPI
from pydantic import BaseModel, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom_api.accounts.client import is_local
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, token_invalid
from darkroom_api.http.parts import Parts, parts_of

METRICS_LIMIT = 2.0  # seconds


async def livez() -> JSONResponse:
    """Tell that the process runs."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> JSONResponse:
    """Tell whether all that this service needs is there, with a reason for each dependency."""
    ready, report = await parts_of(request.scope).health.report()
    return JSONResponse(report, 200 if ready else 503)


class Checked(BaseModel):
    """What was found of a dependency."""

    ok: bool
    reason: str


class HealthReport(BaseModel):
    """Whether this replica serves, and what it needs for it."""

    status: Literal["healthy", "unhealthy"]
    version: str
    checks: dict[str, Checked] = Field(description="by dependency; some are not needed to serve")


async def health(request: Request, response: Response) -> HealthReport:
    """Tell whether this replica serves. Nobody is asked who they are, and nothing is limited."""
    ready, report = await parts_of(request.scope).health.report()
    response.status_code = 200 if ready else 503
    status = "healthy" if ready else "unhealthy"
    return HealthReport.model_validate({**report, "status": status})


async def metrics_at(parts: Parts, target: str) -> httpx.Response:
    """Return the metrics of a service at its base URL.

    Raises:
        httpx.HTTPError: it does not answer, or not with them.
    """
    inner = parts.handover.tls
    checked = True if inner is None else inner.context()
    async with httpx.AsyncClient(timeout=METRICS_LIMIT, trust_env=False, verify=checked) as client:
        answer = await client.get(f"{target.rstrip('/')}/metrics")
        answer.raise_for_status()
    return answer


def targets_of(parts: Parts) -> dict[str, str]:
    """Return the base URL of each service whose metrics are passed on."""
    path = parts.settings.metrics_targets_path
    if path is None:
        return parts.settings.metrics_targets
    return TypeAdapter(dict[str, str]).validate_json(path.read_bytes())


async def service_metrics(request: Request, service: str) -> Response:
    """Pass on the metrics of a service: of one machine's stack, where nobody else collects them.

    They name destinations and printers: they are for this machine, or for who has the token.
    """
    if not is_local(request) and not _has_token(request):
        raise token_invalid()
    target = targets_of(parts_of(request.scope)).get(service)
    if target is None:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    try:
        answer = await metrics_at(parts_of(request.scope), target)
    except httpx.HTTPError as error:
        raise ApiError(502, Code.BAD_GATEWAY, "The service did not answer.") from error
    return Response(answer.content, media_type=answer.headers.get("content-type", "text/plain"))


def _has_token(request: Request) -> bool:
    token = parts_of(request.scope).settings.metrics_token
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return (
        token is not None
        and scheme.casefold() == "bearer"
        and compare_digest(given.strip().encode(), token.get_secret_value().encode())
    )


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route("/livez", livez, tags=["health"])
    app.add_api_route(
        "/readyz",
        readyz,
        tags=["health"],
        responses={503: {"description": "Not ready; the body says why."}},
    )
    app.add_api_route(
        "/api/v1/health",
        health,
        tags=["health"],
        responses={503: {"description": "It does not serve.", "model": HealthReport}},
    )
    app.add_api_route(
        "/metrics/{service}",
        service_metrics,
        include_in_schema=False,
        responses=errors(401, 404, 502),
    )
