"""Health on the public port, and the metrics of all services in the local stack."""

import httpx
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.parts import parts_of

METRICS_LIMIT = 2.0  # seconds


async def livez() -> JSONResponse:
    """Tell that the process runs."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> JSONResponse:
    """Tell whether all that this service needs is there, with a reason for each dependency."""
    ready, report = await parts_of(request.scope).health.report()
    return JSONResponse(report, 200 if ready else 503)


async def service_metrics(request: Request, service: str) -> Response:
    """Pass on the metrics of a service: of one machine's stack, where nobody else collects them."""
    target = parts_of(request.scope).settings.metrics_targets.get(service)
    if target is None:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    try:
        async with httpx.AsyncClient(timeout=METRICS_LIMIT, trust_env=False) as client:
            answer = await client.get(f"{target.rstrip('/')}/metrics")
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise ApiError(502, Code.BAD_GATEWAY, "The service did not answer.") from error
    return Response(answer.content, media_type=answer.headers.get("content-type", "text/plain"))


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
        "/metrics/{service}", service_metrics, include_in_schema=False, responses=errors(404, 502)
    )
