"""What an object is made of that is here already: a performed procedure step, or films."""

from typing import Final

from starlette.requests import Request

from darkroom_api.accounts.permissions import Permission, has
from darkroom_api.http.errors import ApiError, Code, permission_denied
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.objects.softcopy.films import NoState, shown_on_films
from darkroom_api.objects.softcopy.spec import PresentationStateGiven
from darkroom_api.objects.spec import Given
from darkroom_api.objects.structured.dose_spec import DoseReportGiven
from darkroom_api.objects.structured.from_step import Step
from darkroom_common.readers import ingest
from darkroom_common.readers import print as print_reader
from darkroom_common.specs.worklist.entries import STEP_PURPOSE

_OVER: Final = frozenset({"COMPLETED", "DISCONTINUED"})


async def step_of(request: Request, given: Given) -> Step | None:
    """Return the step that is named; None: none is.

    Raises:
        ApiError: 403; 404, there is none such; 409, it has not ended.
    """
    if not isinstance(given, DoseReportGiven) or given.mpps is None:
        return None
    parts = parts_of(request.scope)
    if not has(Permission.STEPS_READ, principal_of(request.scope).permissions):
        raise permission_denied(Permission.STEPS_READ)
    async with parts.database.acquire() as db:
        row = await ingest.performed_step(db, given.mpps)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such performed step.")
    if row["state"] not in _OVER:
        raise ApiError(409, Code.CONFLICT, "The performed step has not ended.")
    return Step(given.mpps, parts.seal.open(row["sealed"], purpose=STEP_PURPOSE))


async def of_films(request: Request, given: Given) -> Given:
    """Return what is said of an object, with what the films show that it names; else as it is.

    Raises:
        ApiError: 403; 404, there is no such job, or nothing of its images.
        NoState: nothing can be made of what its films show.
    """
    if not isinstance(given, PresentationStateGiven) or given.print_job is None:
        return given
    parts = parts_of(request.scope)
    if not has(Permission.PRINT_READ, principal_of(request.scope).permissions):
        raise permission_denied(Permission.PRINT_READ)
    async with parts.database.acquire() as db:
        row = await print_reader.ordered(db, given.print_job)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such print job.")
    order = print_reader.open_order(row, parts.seal)
    if not order.images:
        raise NoState("The print job names no images.")
    one = await parts.reader.instance(order.images[0].sop_instance_uid)
    if one is None:
        raise ApiError(404, Code.NOT_FOUND, "The images of the print job are not here any more.")
    return shown_on_films(given, order, one.study_instance_uid)
