"""The performed procedure step that a dose report is made of."""

from typing import Final

from starlette.requests import Request

from darkroom_api.accounts.permissions import Permission, has
from darkroom_api.http.errors import ApiError, Code, permission_denied
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.objects.spec import Given
from darkroom_api.objects.structured.dose_spec import DoseReportGiven
from darkroom_api.objects.structured.from_step import Step
from darkroom_common.readers import ingest
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
