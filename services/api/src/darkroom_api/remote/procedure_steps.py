"""Performed procedure steps: tell another node that one begins, and how it ends (TRX-10)."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import BaseModel, Field
from pydicom.uid import generate_uid
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import ETAG, IfMatch, IfNoneMatch, answer, require, unless_known
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.acts import KEY, act_of, kept_unless_refused
from darkroom_api.remote.query import asked
from darkroom_common.messages.base import Uid
from darkroom_common.messages.requests import CreateProcedureStep, SetProcedureStep
from darkroom_common.postgres.listing import Key, Order
from darkroom_common.readers import transmit
from darkroom_common.specs.base import as_spec, strict
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.remote import NewProcedureStep, ProcedureStepChange

_PURPOSE: Final = "procedure step"

_KEYS: Final[dict[str, type[Key]]] = {"created_at": dt.datetime, "sop_instance_uid": str}
_ORDERS: Final = {"-created_at": Order(_KEYS, descending=True), "created_at": Order(_KEYS)}


@strict
class StepToBegin(NewProcedureStep):
    """A step that begins, and which destination to tell."""

    remote: Name
    sop_instance_uid: Uid | None = Field(
        default=None, description="of the step; left out: a new one. The same again tells once"
    )


@strict
class StepChange(ProcedureStepChange):
    """What became of a step."""


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


class StepSearch(ListQuery):
    """What the list is narrowed by."""

    sort: Literal["-created_at", "created_at"] = "-created_at"
    remote: Name | None = None


def _given(row: Any) -> dict[str, Any]:
    status = row["status"]
    return dict(row) | {"status": None if status is None else f"{status:04X}"}


_LIST: Final = Catalogue(transmit.STEPS, _ORDERS, lambda row: Step.model_validate(_given(row)))


async def list_steps(
    request: Request, response: Response, given: Annotated[StepSearch, Parameter()]
) -> Listed[Step]:
    """List steps, newest first."""
    return await list_of(request, response, given, _LIST)


async def show_step(request: Request, step: Uid, if_none_match: IfNoneMatch = None) -> Response:
    """Show a step with its attributes."""
    return unless_known(answer(await _current(request, step)), if_none_match)


async def _current(request: Request, step: str) -> dict[str, Any]:
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = await transmit.procedure_step(db, step)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such procedure step.")
    attributes = parts.seal.open(row["sealed"], purpose=_PURPOSE)
    return StepDetail.model_validate({**_given(row), "attributes": attributes}).model_dump()


async def begin_step(request: Request, given: StepToBegin) -> Response:
    """Tell a destination by N-CREATE that a procedure step is in progress."""
    chosen = given.sop_instance_uid or str(generate_uid(prefix=None))
    async with parts_of(request.scope).database.transaction() as db:
        act = await act_of(db, request, given, said=chosen)
    uid = act.said or chosen  # asked for again, it is the same step, and has perhaps begun
    content = as_spec(NewProcedureStep, given)
    named = {"remote": given.remote, "sop_instance_uid": uid}
    async with kept_unless_refused(act):
        reply, _ = await asked(request, CreateProcedureStep, content, **named)
    begun = answer(await _current(request, uid), 200 if reply.outcome == "done" else 201)
    begun.headers["location"] = f"/api/v1/mpps/{uid}"
    return begun


async def change_step(
    request: Request, step: Uid, given: StepChange, if_match: IfMatch = None
) -> Response:
    """Tell by N-SET what has become of a step. COMPLETED and DISCONTINUED are for good."""
    if if_match is not None:
        require(if_match, await _current(request, step))
    await asked(request, SetProcedureStep, given, sop_instance_uid=step)
    return answer(await _current(request, step))


def add(app: FastAPI) -> None:
    """Add the routes."""
    base, tags = "/api/v1/mpps", ["procedure steps"]
    one = f"{base}/{{step}}"
    failures = errors(400, 401, 403, 404, 409, 413, 422, 500, 502, 503, 504)
    app.add_api_route(
        base, list_steps, tags=[*tags], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        base,
        begin_step,
        methods=["POST"],
        status_code=201,
        response_model=StepDetail,
        tags=[*tags],
        responses={
            **failures,
            200: {"description": "It had begun before.", "model": StepDetail, "headers": ETAG},
            201: {"headers": ETAG},
        },
        openapi_extra=KEY,
    )
    found = {200: {"headers": ETAG}, **errors(401, 403, 404, 422, 503)}
    app.add_api_route(one, show_step, response_model=StepDetail, tags=[*tags], responses=found)
    for method in ("PATCH", "PUT"):
        app.add_api_route(
            one,
            change_step,
            methods=[method],
            response_model=StepDetail,
            tags=[*tags],
            responses={**failures, 200: {"headers": ETAG}},
            operation_id=f"change_step_{method.lower()}",
        )
