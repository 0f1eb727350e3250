"""`POST /api/v1/objects/{kind}`: a picture or a document becomes an object (docs/objects.md)."""

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from darkroom_api.audit.recorded import MORE, recorded_before
from darkroom_api.dicomweb.storing.answer import status_of
from darkroom_api.dicomweb.storing.handover import (
    CONNECT_SECONDS,
    ROOM_SECONDS,
    SETTLE_SECONDS,
    NotTaken,
)
from darkroom_api.http.asking import service_away
from darkroom_api.http.body import read_json
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import RETRY_AFTER, ApiError, Code, bad_request
from darkroom_api.http.parts import parts_of
from darkroom_api.objects.exchange import Kind, MakeTask
from darkroom_api.objects.identity import identity_of, said
from darkroom_api.objects.kinds import GIVEN
from darkroom_api.objects.once import KEY, Meant, forget, meant
from darkroom_api.objects.references import references_of
from darkroom_api.objects.softcopy.films import NoState
from darkroom_api.objects.spec import Given
from darkroom_api.objects.steps import of_films, step_of
from darkroom_api.objects.storing import own_of, store
from darkroom_api.objects.structured.dose_spec import DoseReportGiven
from darkroom_api.objects.structured.from_step import NoDose, told
from darkroom_api.objects.uploads import FORM, MOST_VALUES, Form, NoForm
from darkroom_api.rendering.rendering import PATIENCE, CannotMake, DecoderFailed
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.stow.handover import Outcome
from darkroom_common.stow.media import parse_media_type
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
PATH: Final = "/api/v1/objects/{kind}"
JSON: Final = "application/json"
_UPLOADING: Final = 120.0
"""Seconds for a body to come."""
_INDEXED_SECONDS: Final = 5.0
"""For the index to have it, before it is answered that it will."""
_LOOKS: Final = (0.02, 0.05, 0.1, 0.2)
_TOO_MUCH: Final = "The file takes more to read than is allowed."


class Made(BaseModel):
    """An object that was made, and is stored."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str = Field(description="to go on with: the next page of the same series")
    study_instance_uid: str


async def make(request: Request, response: Response, kind: Kind) -> Made:
    """Make an object, of a file or of values alone, and store it as if it had been received.

    It is of the patient and the study that a study here, or an entry of the worklist, has. What
    would be no valid object is refused. 202: it is stored, but not yet in the index.
    """
    parts = parts_of(request.scope)
    read = _body(request, kind)
    wait_for_another(request.scope, _UPLOADING)
    async with parts.validating.room:
        try:
            values, body = await read
        except NoForm as fault:
            raise _unfit(str(fault)) from None
        except ClientDisconnect as gone:
            raise bad_request("The body has not come whole.") from gone
        given = _given(kind, values)
        one = await meant(request, given, body)
        made = await _made_before(request, one) if one.is_repeated else None
        if made is None:
            made = await _made_now(request, given, one, kind, body)
    request.scope["state"][MORE] = {"studies": [made.study_instance_uid], "kind": kind.value}
    response.headers["location"] = (
        f"/dicom-web/studies/{made.study_instance_uid}/series/{made.series_instance_uid}"
        f"/instances/{made.sop_instance_uid}"
    )
    response.status_code = 201 if await _is_indexed(request, made.sop_instance_uid) else 202
    return made


async def _made_before(request: Request, one: Meant) -> Made | None:
    """Return what the same request has made, as the index has it; None while it has not."""
    row = await parts_of(request.scope).reader.instance(one.sop_instance_uid)
    if row is None:
        return None
    recorded_before(request.scope)
    return Made(
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=one.sop_instance_uid,
        series_instance_uid=one.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
    )


async def _made_now(
    request: Request, given: Given, one: Meant, kind: Kind, body: list[bytes]
) -> Made:
    """Make an object, and have it stored.

    Raises:
        ApiError: as `identity_of` and `_stored`.
    """
    try:
        given = await of_films(request, given)
        step = await step_of(request, given)
        if step is not None:
            given = given.model_copy(update={"study": step.study()})
        identity = await identity_of(request, given, one.at)
        if step is not None and isinstance(given, DoseReportGiven):
            given = told(given, step, identity.equipment)
        references = await references_of(request, given, identity.study_instance_uid)
        task = MakeTask(
            kind,
            {**identity.attributes, **said(own_of(given, identity, one.own()))},
            sum(map(len, body)),
            given.model_dump(mode="json", exclude_unset=True),
            references,
            one.more_uids(given.new_uids()),
        )
        return await _stored(request, task, body)
    except (NoDose, NoState) as fault:
        if one.is_kept:
            await forget(request, one)
        raise _unfit(str(fault)) from None
    except ApiError as refused:
        if one.is_kept and refused.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            await forget(request, one)
        raise


def _body(request: Request, kind: Kind) -> Awaitable[tuple[bytes, list[bytes]]]:
    """Return what reads the values, and what the object is made of.

    Raises:
        ApiError: 415, it is not what this kind is made of.
    """
    content_type = request.headers.get("content-type", "")
    part = GIVEN[kind].PART
    if not part:
        media = parse_media_type(content_type)
        if media is None or media.kind != JSON:
            raise ApiError(415, Code.UNSUPPORTED_MEDIA_TYPE, f"It has to be {JSON}.")
        return _values_alone(request)
    try:
        return Form(content_type, part).read(request.stream())
    except NoForm as fault:
        raise ApiError(415, Code.UNSUPPORTED_MEDIA_TYPE, str(fault)) from None


async def _values_alone(request: Request) -> tuple[bytes, list[bytes]]:
    """Return values that are the whole body.

    Raises:
        NoForm: they are too long; the body has come whole all the same.
    """
    read, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MOST_VALUES:
            read.append(chunk)
    if size > MOST_VALUES:
        raise NoForm("Its values are too long.")
    return b"".join(read), []


def _given(kind: Kind, values: bytes) -> Given:
    """Return what is said of an object.

    Raises:
        RequestValidationError, UnfitBody: it is not JSON, or values are wrong.
    """
    try:
        return GIVEN[kind].model_validate(read_json(values))
    except ValidationError as error:
        faults = [
            {**one, "loc": ("body", *(("values",) if GIVEN[kind].PART else ()), *one["loc"])}
            for one in error.errors(include_input=False, include_context=False)
        ]
        raise RequestValidationError(faults) from None


async def _stored(request: Request, task: MakeTask, body: list[bytes]) -> Made:
    """Have a worker make an object, and ingest store it as it comes out of there.

    Raises:
        ApiError: 422, nothing can be made of the body; 503, somebody who is needed is away.
    """
    parts = parts_of(request.scope)
    wait_for_another(request.scope, PATIENCE + CONNECT_SECONDS + ROOM_SECONDS + SETTLE_SECONDS)
    try:
        outcome = await store(parts.rendering, parts.handover, task, body)
    except CannotMake as fault:
        raise _unfit(str(fault)) from None
    except DecoderFailed:
        raise _unfit(_TOO_MUCH) from None
    except (NotTaken, DependencyUnavailable) as away:
        log.warning("object.not_stored", reason=type(away).__name__)
        raise service_away() from away
    return _made(outcome)


def _made(outcome: Outcome) -> Made:
    """Return what ingest has stored.

    Raises:
        ApiError: 503, it has not, for want of room or by its rules.
    """
    if status_of(outcome) not in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
        log.error("object.refused", code=next((one.code for one in outcome.items), outcome.fault))
        raise ApiError(
            503,
            Code.SERVICE_AWAY,
            "The object was made, but is not stored: there is no room, or a rule refuses it.",
            headers={"Retry-After": RETRY_AFTER},
        )
    one = outcome.items[0]
    return Made(
        sop_class_uid=one.sop_class_uid,
        sop_instance_uid=one.sop_instance_uid,
        series_instance_uid=one.series_instance_uid,
        study_instance_uid=one.study_instance_uid,
    )


async def _is_indexed(request: Request, uid: str) -> bool:
    """Tell whether the index has an instance, within `_INDEXED_SECONDS`."""
    reader = parts_of(request.scope).reader
    wait_for_another(request.scope, _INDEXED_SECONDS)
    looks = iter(_LOOKS)
    with suppress(TimeoutError):
        async with asyncio.timeout(_INDEXED_SECONDS):
            found = await reader.instance(uid)
            while found is None:
                await asyncio.sleep(next(looks, _LOOKS[-1]))
                found = await reader.instance(uid)
            return True
    return False


def _unfit(detail: str) -> ApiError:
    return ApiError(422, Code.INVALID_REQUEST, detail)


def _whole(schema: Any, parts: Mapping[str, Any]) -> Any:
    """Return a schema with its parts in place: nothing else in the description names them."""
    if isinstance(schema, list):
        return [_whole(one, parts) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _whole(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {name: _whole(one, parts) for name, one in schema.items()}


def _schema(kind: Kind) -> dict[str, Any]:
    given = GIVEN[kind]
    schema = given.model_json_schema()
    values: dict[str, Any] = _whole(schema, schema.pop("$defs", {}))
    if not given.PART:
        return values
    return {
        "type": "object",
        "required": ["values", given.PART],
        "properties": {"values": values, given.PART: {"type": "string", "format": "binary"}},
    }


_BODY: Final = {
    "required": True,
    "content": {
        FORM: {"schema": {"anyOf": [_schema(kind) for kind in Kind if GIVEN[kind].PART]}},
        JSON: {"schema": {"anyOf": [_schema(kind) for kind in Kind if not GIVEN[kind].PART]}},
    },
}


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        PATH,
        make,
        methods=["POST"],
        status_code=201,
        tags=["objects"],
        responses={
            202: {"model": Made, "description": "It is stored; the index has it in a moment."},
            **errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra={"requestBody": _BODY, "parameters": [KEY]},
    )
