"""Who is told of workitems: subscribe, unsubscribe, suspend (PS3.18 sections 11.10 to 11.12)."""

from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.address import dicomweb_url
from darkroom_api.dicomweb.searching.parameters import boolean_of, path_of
from darkroom_api.dicomweb.workitems.asking import ae_title_of, subscribe, uid_of
from darkroom_api.dicomweb.workitems.routes import AE_TITLE, ONE, WORKITEM
from darkroom_api.http.documented import errors, parameter
from darkroom_api.http.errors import bad_request
from darkroom_common.index.matching.values import BadKey
from darkroom_common.specs.worklist.workitems import FILTERED_WORKLIST, MAX_KEYS

_ONE: Final = ONE + "/subscribers/{ae_title}"


async def begin(request: Request) -> Response:
    """Subscribe an AE to a workitem, to the worklist, or to what a filter names of it."""
    given = request.query_params
    lock = boolean_of("deletionlock", given.getlist("deletionlock"))
    filtered = uid_of(request) == FILTERED_WORKLIST
    keys = _keys(given.getlist("filter")) if filtered else None
    if not filtered and "filter" in given:
        raise BadKey("filter", "is for the filtered worklist alone")
    done = await subscribe(request, "subscribe", lock=lock, keys=keys)
    scheme, _, rest = dicomweb_url(request).partition("://")
    there = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/subscribers/{ae_title_of(request)}"
    return Response(status_code=201, headers={**done.headers, "content-location": there})


async def end(request: Request) -> Response:
    """Tell an AE no more of a workitem, or, of the worklist, of any."""
    await subscribe(request, "unsubscribe")
    return Response(status_code=200)


async def suspend(request: Request) -> Response:
    """Subscribe an AE to nothing new any more; what it is told of stays."""
    await subscribe(request, "suspend")
    return Response(status_code=200)


def _keys(given: list[str]) -> dict[str, str]:
    """Return the matching keys of a filter, by path.

    Raises:
        ApiError: it is missing.
        BadKey: it names no attribute, or one twice, or has a NUL.
    """
    found: dict[str, str] = {}
    for part in (one for text in given for one in text.split(",") if one.strip()):
        name, equals, value = part.partition("=")
        path = path_of(name.strip())
        if not equals or path in found:
            raise BadKey("filter", "takes attribute=value, each attribute once")
        if "\0" in value:
            raise BadKey("filter", "has a NUL character")
        found[path] = value.strip()
    if not found or len(found) > MAX_KEYS:
        raise bad_request("The filtered worklist needs a filter.", ("query.filter", "is missing"))
    return found


def add(app: FastAPI) -> None:
    """Add the routes."""
    failures = errors(400, 401, 403, 404, 503)
    lock = parameter("deletionlock", "Keep what has ended until it unsubscribes.", kind="boolean")
    matching = parameter("filter", "attribute=value, with commas; of the filtered worklist.")
    named = [WORKITEM, AE_TITLE]
    app.add_api_route(
        _ONE,
        begin,
        name="subscribe_to_workitems",
        methods=["POST"],
        status_code=201,
        tags=["UPS-RS"],
        response_class=Response,
        responses={
            201: {"description": "`Content-Location` says where it is told."},
            **errors(400, 401, 403, 404, 410, 503),
        },
        openapi_extra={"parameters": [*named, lock, matching]},
    )
    for path, endpoint, method in ((_ONE, end, "DELETE"), (_ONE + "/suspend", suspend, "POST")):
        app.add_api_route(
            path,
            endpoint,
            name=f"{'suspend' if method == 'POST' else 'unsubscribe_from'}_workitems",
            methods=[method],
            tags=["UPS-RS"],
            response_class=Response,
            responses={200: {"description": "Done."}, **failures},
            openapi_extra={"parameters": named},
        )
