"""QIDO-RS at every path (PS3.18 section 10.6)."""

from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.accept import parse_accept
from darkroom_api.dicomweb.address import dicomweb_url, in_path, next_link, uid_of
from darkroom_api.dicomweb.searching.parameters import parse_search
from darkroom_api.http.documented import body, errors, parameter
from darkroom_api.http.errors import not_acceptable
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import DICOM_JSON, json_response
from darkroom_common.index.answer import element, result_json
from darkroom_common.index.fields import Level
from darkroom_common.index.query import Query
from darkroom_common.index.rows import Found, Json

CUT: Final = (
    '299 darkroom "The number of results exceeded the maximum supported by the server.'
    ' Additional results can be requested."'
)
BODY_TYPES: Final = (DICOM_JSON, "application/json")


def require_json(request: Request) -> None:
    """Refuse a client that accepts no JSON.

    Raises:
        ApiError: 406.
    """
    ranges = parse_accept(request.headers.getlist("accept"), request.query_params.getlist("accept"))
    if not any(one.takes(kind) for one in ranges for kind in BODY_TYPES):
        raise not_acceptable([DICOM_JSON])


def _with_url(answer: Json, base: str, found: Found) -> Json:
    url = f"{base}/studies/{found.study.study_instance_uid}"
    if found.series is not None:
        url += f"/series/{found.series.series_instance_uid}"
    if found.instance is not None:
        url += f"/instances/{found.instance.sop_instance_uid}"
    answer["00081190"] = element("UR", url)
    return answer


async def _search(request: Request, level: Level) -> Response:
    parts = parts_of(request.scope)
    require_json(request)
    items = request.query_params.multi_items()
    instances = level is Level.INSTANCE
    asked = parse_search(
        items,
        level,
        study_uid=uid_of(request, "study") if "study" in request.path_params else None,
        series_uid=uid_of(request, "series") if "series" in request.path_params else None,
        most=parts.settings.instance_search_limit if instances else parts.settings.search_limit,
    )
    query: Query = asked.query
    async with parts.searches.of(principal_of(request.scope).user_id):
        page = await parts.reader.search(query)
    headers: dict[str, str] = {}
    if page.total is not None:
        headers["x-total-count"] = str(page.total)
    if page.more:
        headers["link"] = next_link(request, items, query.offset + query.limit)
        if asked.capped:
            headers["warning"] = CUT
    base = dicomweb_url(request)
    answer = [_with_url(result_json(query, found), base, found) for found in page.results]
    return await json_response(request, answer, headers=headers)


async def search_studies(request: Request) -> Response:
    """Search for studies."""
    return await _search(request, Level.STUDY)


async def search_series(request: Request) -> Response:
    """Search for series."""
    return await _search(request, Level.SERIES)


async def search_instances(request: Request) -> Response:
    """Search for instances."""
    return await _search(request, Level.INSTANCE)


_PARAMETERS: Final = [
    parameter("PatientID", "One key of many: any attribute of the level, by keyword or tag."),
    parameter("includefield", "Attributes to answer besides; repeated, comma separated, or all."),
    parameter("fuzzymatching", "Word prefixes match in person names.", kind="boolean"),
    parameter("limit", "At most so many results.", kind="integer"),
    parameter("offset", "Results to pass over.", kind="integer"),
]
_STUDY: Final = "/dicom-web/studies/{study}"


def add(app: FastAPI) -> None:
    """Add the routes."""
    answer = body(
        "DICOM JSON, one object a result; an empty list when nothing matches.", DICOM_JSON
    )
    for path, endpoint in (
        ("/dicom-web/studies", search_studies),
        ("/dicom-web/series", search_series),
        ("/dicom-web/instances", search_instances),
        (_STUDY + "/series", search_series),
        (_STUDY + "/instances", search_instances),
        (_STUDY + "/series/{series}/instances", search_instances),
    ):
        names = [name for name in ("study", "series") if f"{{{name}}}" in path]
        app.add_api_route(
            path,
            endpoint,
            tags=["QIDO-RS"],
            response_class=Response,
            responses={**answer, **errors(400, 401, 403, 404, 406, 503)},
            openapi_extra={"parameters": _PARAMETERS + [in_path(name) for name in names]},
        )
