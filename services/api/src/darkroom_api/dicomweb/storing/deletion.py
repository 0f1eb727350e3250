"""DELETE of a study, a series or an instance, by the same removal as REST has (STO-04)."""

import asyncio
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.address import in_path, uid_of, uids_of
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import study_not_found
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.accepted import Accepted, JobView, accept
from darkroom_api.studies.editing import conflict
from darkroom_api.studies.removal import VIEW, Removal, Target, deletion

_REASON: Final = "deleted by DICOMweb"
_SERIES: Final = "/dicom-web/studies/{study}/series/{series}"
WAIT_SECONDS: Final = 5.0
"""For a job to end, before it is answered that it is accepted."""
_LOOKS: Final = (0.02, 0.05, 0.1, 0.2)
_LATER: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "model": Accepted,
        "description": "It is accepted, but not done yet; Location says how it goes.",
    },
    204: {"description": "It is deleted."},
}


async def delete(request: Request) -> Response:
    """Delete a study, a series or an instance: nothing shows it, and it is purged in time."""
    _, series, instance = uids_of(request)
    target = Target(uid_of(request, "study"), series, instance)
    if not await parts_of(request.scope).reader.stored(*uids_of(request)):
        raise study_not_found()
    response = Response(media_type="application/json", status_code=202)
    command = partial(deletion, request, target, _REASON)
    accepted = await accept(request, response, VIEW, Removal(reason=_REASON), command)
    match await outcome(request, VIEW, accepted.job_id):
        case "DONE", _:
            return Response(status_code=204)
        case "FAILED", reason:
            raise conflict(f"It is not deleted: {reason}.")
    response.body = accepted.model_dump_json().encode()
    response.headers["content-length"] = str(len(response.body))
    return response


async def outcome(request: Request, view: JobView, job_id: str) -> tuple[str, str]:
    """Return state and reason of a job, when it has ended or `WAIT_SECONDS` have passed."""
    wait_for_another(request.scope, WAIT_SECONDS)
    looks = iter(_LOOKS)
    state, reason = "", ""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while state not in ("DONE", "FAILED", "CANCELLED"):
                await asyncio.sleep(next(looks, _LOOKS[-1]))
                async with parts_of(request.scope).database.acquire() as db:
                    row = await view.find(db, job_id)
                state, reason = row["state"], row["reason"]
    except TimeoutError:
        pass  # it goes on without us
    return state, reason


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path, names in (
        ("/dicom-web/studies/{study}", ["study"]),
        (_SERIES, ["study", "series"]),
        (_SERIES + "/instances/{instance}", ["study", "series", "instance"]),
    ):
        app.add_api_route(
            path,
            delete,
            methods=["DELETE"],
            status_code=204,
            name=f"delete_{names[-1]}",
            tags=["STOW-RS"],
            response_class=Response,
            responses={**_LATER, **errors(401, 403, 404, 409, 422, 429, 503)},
            openapi_extra={"parameters": [in_path(name) for name in names]},
        )
