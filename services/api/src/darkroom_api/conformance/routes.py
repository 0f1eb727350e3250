"""`GET /api/v1/system/conformance`: the conformance statement of what runs."""

from typing import Annotated, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.conformance import pages
from darkroom_api.conformance.exchange import StatementTask
from darkroom_api.conformance.identity import identity
from darkroom_api.conformance.own import stated
from darkroom_api.conformance.statement import Statement, kept, statement
from darkroom_api.http.asking import service_away
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import body, errors
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import json_response, packed_response
from darkroom_api.rendering.rendering import PATIENCE, CannotMake, DecoderFailed
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import DependencyUnavailable

PATH: Final = "/api/v1/system/conformance"
Form = Literal["json", "markdown", "html", "pdf", "dicom"]
KINDS: Final[dict[Form, str]] = {
    "json": "application/json",
    "markdown": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "dicom": "application/dicom",
}
ENDINGS: Final[dict[Form, str]] = {
    "json": "json",
    "markdown": "md",
    "html": "html",
    "pdf": "pdf",
    "dicom": "dcm",
}


class Asked(BaseModel):
    """As what it is wanted."""

    model_config = ConfigDict(extra="forbid")

    format: Form = Field(
        default="json", description="dicom: an Encapsulated PDF object, of no patient"
    )


async def show_conformance(request: Request, asked: Annotated[Asked, Query()]) -> Response:
    """Show the conformance statement of what runs, made of what its services say of themselves."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        others = await kept(db)
    own = stated(parts.settings, request.app.routes)
    found = statement(parts.health.version, own, others)
    form = asked.format
    name = f"darkroom-conformance.{ENDINGS[form]}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    if form == "json":
        return await json_response(request, found.to_json(), media_type=KINDS[form])
    if form in ("pdf", "dicom"):
        made = await _printed(request, found, as_object=form == "dicom")
        return Response(made, headers=headers, media_type=KINDS[form])
    text = pages.markdown(found) if form == "markdown" else pages.html(found)
    return await packed_response(request, text.encode(), media_type=KINDS[form], headers=headers)


async def _printed(request: Request, found: Statement, *, as_object: bool) -> bytes:
    """Have a worker make a document, or an object of it.

    Raises:
        ApiError: 503, no worker can.
    """
    parts = parts_of(request.scope)
    now = SYSTEM_CLOCK.now().astimezone()
    task = StatementTask(found.to_json(), identity(parts.uids, now) if as_object else {})
    wait_for_another(request.scope, PATIENCE)
    try:
        async with parts.rendering.object(task, ()) as made:
            return b"".join([chunk async for chunk in made.chunks])
    except (CannotMake, DecoderFailed, DependencyUnavailable) as error:
        raise service_away() from error


def add(app: FastAPI) -> None:
    """Add the route."""
    kinds = [kind.partition(";")[0] for kind in KINDS.values()]
    answers = body("The statement.", *kinds)
    answers[200]["content"][KINDS["json"]] = {"schema": {"type": "object"}}
    app.add_api_route(
        PATH,
        show_conformance,
        tags=["operations"],
        response_class=Response,
        responses={**answers, **errors(401, 403, 422, 429, 503)},
    )
