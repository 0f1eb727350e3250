"""`POST /api/v1/validate` (docs/validation.md)."""

from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.body import read_json
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import invalid, study_not_found
from darkroom_api.http.parts import parts_of
from darkroom_api.validation.form import boundary_of
from darkroom_api.validation.validating import PATIENCE
from darkroom_common.messages.base import Uid

DICOM: Final = "application/dicom"
FORM: Final = "multipart/form-data"
JSON: Final = "application/json"
UPLOADING: Final = 120.0
"""Seconds for a body to come."""


class StoredObject(BaseModel):
    """An object that Darkroom has."""

    model_config = ConfigDict(extra="forbid")

    sop_instance_uid: Uid


class FindingShown(BaseModel):
    """One thing that is wrong; nothing of it is a value of the object."""

    module: str = Field(description="its name in PS3.3, or `Data Set`: of every element")
    tag: str | None = Field(description="(gggg,eeee); null: of the whole object")
    keyword: str | None = Field(description="null: a private or unknown attribute")
    path: list[str] = Field(description="the sequences around it, with the number of the item")
    kind: str = Field(description="one of the kinds of docs/validation.md")
    severity: Literal["error", "warning"]
    message: str
    section: str = Field(description="of the standard")
    count: int = Field(description="how often, in other items of the same sequences")


class ValidationReport(BaseModel):
    """What is said of an object."""

    sop_class_uid: str = Field(description="as the object says")
    iod: str | None = Field(description="what it was held against; null: no IOD is known for it")
    valid: bool = Field(description="whether no error was found")
    errors: int
    warnings: int
    modules: list[str] = Field(description="that were held against it")
    findings: list[FindingShown] = Field(description="errors first")
    more: int = Field(description="findings that are not listed")
    unchecked: list[str] = Field(description="what could not be checked")


async def validate(request: Request) -> ValidationReport:
    """Hold an object against the standard: the modules of its IOD, values, pixel data.

    The object is the body, or the file of a form, or one that is stored. Nothing is kept of it.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON:
        report, uid = await _stored(request)
    elif kind in (DICOM, FORM):
        report, uid = await _uploaded(request, kind), ""
    else:
        raise HTTPException(415)
    details = {"errors": report["errors"], "warnings": report["warnings"], "uploaded": not uid}
    async with parts_of(request.scope).database.transaction() as db:
        await record(db, request.scope, Action.STUDY_VALIDATE, "instance", uid, details=details)
    return ValidationReport.model_validate(report)


async def _stored(request: Request) -> tuple[dict[str, Any], str]:
    parts = parts_of(request.scope)
    try:
        wanted = StoredObject.model_validate(read_json(await request.body()))
    except ValidationError as error:
        faults = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(faults) from None
    found = await parts.reader.instance(wanted.sop_instance_uid)
    if found is None:
        raise study_not_found()
    wait_for_another(request.scope, PATIENCE)
    return await parts.validating.stored(found.object_key), found.sop_instance_uid


async def _uploaded(request: Request, kind: str) -> dict[str, Any]:
    boundary = None
    if kind == FORM:
        boundary = boundary_of(request.headers["content-type"])
        if boundary is None:
            raise invalid("header.content-type", "A form needs a boundary.")
    validating = parts_of(request.scope).validating
    wait_for_another(request.scope, UPLOADING)
    async with validating.room:
        body = [piece async for piece in request.stream()]
        wait_for_another(request.scope, PATIENCE)
        return await validating.uploaded(body, boundary)


_BINARY: Final = {"type": "string", "format": "binary"}
_BODY: Final = {
    "required": True,
    "content": {
        JSON: {"schema": StoredObject.model_json_schema()},
        DICOM: {"schema": _BINARY},
        FORM: {"schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}},
    },
}


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        "/api/v1/validate",
        validate,
        methods=["POST"],
        tags=["studies"],
        responses=errors(401, 403, 404, 413, 415, 422, 429, 503),
        openapi_extra={"requestBody": _BODY},
    )
