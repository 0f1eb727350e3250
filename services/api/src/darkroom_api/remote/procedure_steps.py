"""Performed procedure steps: tell another node that one begins, and how it ends (TRX-10)."""

import datetime as dt
from typing import Annotated, Any, Final

from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field
from pydicom.uid import generate_uid
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.parts import parts_of
from darkroom_api.remote.query import asked
from darkroom_common.messages.base import Uid
from darkroom_common.messages.remote import CreateProcedureStep, SetProcedureStep
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.remote import NewProcedureStep, ProcedureStepChange

MOST: Final = 200
_PURPOSE: Final = "procedure step"
_COLUMNS: Final = (
    "sop_instance_uid, remote, state, reason, status, requested_by, created_at, updated_at"
)


class StepToBegin(NewProcedureStep):
    """A step that begins, and which destination to tell."""

    remote: Name
    sop_instance_uid: Uid | None = Field(
        default=None, description="of the step; left out: a new one. The same again tells once"
    )


class Step(BaseModel):
    """A step as it is."""

    sop_instance_uid: str
    remote: str
    state: str = Field(
        description="CREATING (the other node may not know of it), REFUSED, IN PROGRESS,"
        " COMPLETED, DISCONTINUED"
    )
    reason: str = Field(description="of the last request that failed")
    status: str | None = Field(description="the last answer, four hexadecimal digits")
    requested_by: str
    created_at: dt.datetime
    updated_at: dt.datetime


class StepDetail(Step):
    """A step with its attributes as DICOM JSON."""

    attributes: dict[str, Any]


class StepPage(BaseModel):
    """A page of steps, newest first."""

    items: list[Step]
    page: int
    limit: int
    has_more: bool


class StepSearch(BaseModel):
    """What the list is narrowed by."""

    model_config = ConfigDict(hide_input_in_errors=True)

    remote: Name | None = None
    page: int = Field(default=1, ge=1, le=1_000_000)
    limit: int = Field(default=50, ge=1, description=f"more than {MOST} counts as {MOST}")


def _given(row: Any) -> dict[str, Any]:
    status = row["status"]
    return dict(row) | {"status": None if status is None else f"{status:04X}"}


async def list_steps(request: Request, given: Annotated[StepSearch, Parameter()]) -> StepPage:
    """List steps, newest first."""
    limit = min(given.limit, MOST)
    async with parts_of(request.scope).database.acquire() as db:
        rows = await db.fetch(
            f"SELECT {_COLUMNS} FROM transmit.procedure_step"  # noqa: S608 - our own words
            " WHERE ($1::text IS NULL OR remote = $1)"
            " ORDER BY created_at DESC, sop_instance_uid LIMIT $2 OFFSET $3",
            given.remote,
            limit + 1,
            (given.page - 1) * limit,
        )
    items = [Step.model_validate(_given(row)) for row in rows[:limit]]
    return StepPage(items=items, page=given.page, limit=limit, has_more=len(rows) > limit)


async def show_step(request: Request, step: Uid) -> StepDetail:
    """Show a step with its attributes."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = await db.fetchrow(
            f"SELECT {_COLUMNS}, sealed FROM transmit.procedure_step"  # noqa: S608 - our own words
            " WHERE sop_instance_uid = $1",
            step,
        )
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such procedure step.")
    attributes = parts.seal.open(row["sealed"], purpose=_PURPOSE)
    return StepDetail.model_validate({**_given(row), "attributes": attributes})


async def begin_step(request: Request, response: Response, given: StepToBegin) -> StepDetail:
    """Tell a destination by N-CREATE that a procedure step is in progress."""
    uid = given.sop_instance_uid or str(generate_uid(prefix=None))
    content = NewProcedureStep.model_validate(
        given.model_dump(exclude={"remote", "sop_instance_uid"})
    )
    reply, _ = await asked(
        request, CreateProcedureStep, content, remote=given.remote, sop_instance_uid=uid
    )
    if reply.outcome == "done":
        response.status_code = 200
    response.headers["location"] = f"/api/v1/mpps/{uid}"
    return await show_step(request, uid)


async def change_step(request: Request, step: Uid, given: ProcedureStepChange) -> StepDetail:
    """Tell by N-SET what has become of a step. COMPLETED and DISCONTINUED are for good."""
    await asked(request, SetProcedureStep, given, sop_instance_uid=step)
    return await show_step(request, step)


def add(app: FastAPI) -> None:
    """Add the routes."""
    base, tags = "/api/v1/mpps", ["procedure steps"]
    one = f"{base}/{{step}}"
    failures = errors(400, 401, 403, 404, 409, 413, 422, 500, 502, 503, 504)
    app.add_api_route(base, list_steps, tags=[*tags], responses=errors(401, 403, 422, 503))
    app.add_api_route(
        base,
        begin_step,
        methods=["POST"],
        status_code=201,
        tags=[*tags],
        responses={200: {"description": "It had begun before.", "model": StepDetail}, **failures},
    )
    app.add_api_route(one, show_step, tags=[*tags], responses=errors(401, 403, 404, 422, 503))
    for method in ("PATCH", "PUT"):
        app.add_api_route(
            one,
            change_step,
            methods=[method],
            tags=[*tags],
            responses=failures,
            operation_id=f"change_step_{method.lower()}",
        )
