"""What the OpenAPI document says of errors, and how a module adds its routes."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder

from darkroom_api.http.errors import PROBLEM, Problem

JSON_KINDS: Final = ("application/dicom+json",)
SCHEMAS: Final = "#/components/schemas/"
"""Where the OpenAPI document has the models that are referred to."""
_PROBLEM: Final = {PROBLEM: {"schema": {"$ref": SCHEMAS + Problem.__name__}}}

_ERRORS: Final = {
    400: "The request makes no sense; the message says what of it.",
    401: "No valid access token.",
    402: "The licence does not cover it; the message says why. Patient data is never refused.",
    403: "A permission is missing.",
    404: "There is no such study, series, instance, frame or other thing.",
    406: "None of the accepted media types can be answered.",
    408: "The body has not come in time.",
    409: "It is there already, is still in use, or its state does not allow this.",
    410: "It was there, and is gone for good.",
    411: "The body has neither a length nor an end.",
    412: "It is not of the version that `If-Match` names any more.",
    413: "The body is too large.",
    414: "The address is too long.",
    415: "The body is of none of the media types that this takes.",
    416: "The range lies outside of the value.",
    421: "The name in `Host` is none of those that are served.",
    422: "Values are missing or wrong.",
    426: "This is for WebSockets: `Upgrade`, `Connection` and their headers are missing.",
    428: "It is to be said by `If-Match` which version is meant.",
    429: "Too often; try again after Retry-After seconds.",
    431: "The headers are too long.",
    500: "Something went wrong; the log has it under the request id.",
    502: "The service did not answer, or the other DICOM node refuses or fails; `fault` says how.",
    503: "The database, the store or another service is away; try again after Retry-After seconds.",
    504: "The other DICOM node does not answer in time.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route for its OpenAPI entry.

    They refer to the model, of which FastAPI would make a validator for each: half of a start.
    """
    return {status: {"description": _ERRORS[status], "content": _PROBLEM} for status in statuses}


def problem_schemas() -> dict[str, Any]:
    """Return what `errors` refers to, by name."""
    schema = Problem.model_json_schema(mode="serialization", ref_template=SCHEMAS + "{model}")
    named = {**schema.pop("$defs"), Problem.__name__: schema}
    schemas: dict[str, Any] = jsonable_encoder(named, exclude_none=True)  # as FastAPI has others
    return schemas


def body(description: str, *kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the answer 200 with a body of one of these media types."""
    schema = {"type": "string", "format": "binary"}
    content = {
        kind: {"schema": {"type": "array", "items": {"type": "object"}}}
        if kind in JSON_KINDS
        else {"schema": schema}
        for kind in kinds
    }
    return {200: {"description": description, "content": content}}


def parameter(
    name: str, description: str, *, kind: str = "string", place: str = "query", **limits: int
) -> dict[str, Any]:
    """Return an optional parameter that the route reads by itself, with limits of JSON Schema."""
    return {
        "name": name,
        "in": place,
        "required": False,
        "description": description,
        "schema": {"type": kind, **limits},
    }


Add = Callable[[FastAPI], None]
