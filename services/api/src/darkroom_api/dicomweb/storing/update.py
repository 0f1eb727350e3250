"""PUT and PATCH of a study's metadata: an edit as REST has it, said in DICOM JSON (MET-06)."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import ValidationError
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.address import in_path, uid_of
from darkroom_api.dicomweb.storing.deletion import WAIT_SECONDS, outcome
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, bad_request, unfit
from darkroom_api.http.etags import ETAG, IfMatch
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import DICOM_JSON
from darkroom_api.jobs.accepted import Accepted
from darkroom_api.studies.detail import current_version
from darkroom_api.studies.editing import KEYWORDS, VIEW, StudyPatch, change_study, conflict

_KINDS: Final = (DICOM_JSON, "application/json")
_FIELDS: Final[Mapping[str, str]] = {
    f"{tag_for_keyword(keyword):08X}": name for name, keyword in KEYWORDS.items()
}
"""Fields of an edit by the tag of the attribute."""
_STUDY: Final = "0020000D"
_PASSED_OVER: Final = frozenset({_STUDY, "00080005", "00081190"})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_ACCEPTED: Final = 202
_DONE: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "model": Accepted,
        "description": f"It takes longer than {WAIT_SECONDS:.0f} s; Location.",
    },
    204: {"description": "The objects say so now.", "headers": ETAG},
}


async def change(request: Request, if_match: IfMatch = None) -> Response:
    """Change what the objects of a study say of study and patient; what is left out stays.

    The originals are kept. `If-Match` names the version that the client has seen.
    """
    uid = uid_of(request, "study")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _KINDS:
        raise ApiError(415, Code.UNSUPPORTED_MEDIA_TYPE, f"The body has to be {DICOM_JSON}.")
    patch = _patch(await request.json(), uid)
    answer = await change_study(request, uid, patch, if_match)
    if answer.status_code == _ACCEPTED:
        job = answer.headers["location"].rpartition("/")[2]
        match await outcome(request, VIEW, job):
            case "FAILED", reason:
                raise conflict(f"It is not changed: {reason}.")
            case "DONE", _:
                pass
            case _:
                return answer
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        version = await current_version(parts, db, uid)
    return Response(status_code=204, headers={"etag": f'"{version}"'})


def _patch(body: Any, uid: str) -> StudyPatch:
    """Return the edit that DICOM JSON says.

    Raises:
        ApiError: 400, it is no data set, or of another study; 422, with each value that cannot be.
    """
    data_set = body[0] if isinstance(body, list) and len(body) == 1 else body
    if not isinstance(data_set, dict) or not all(
        isinstance(one, dict) for one in data_set.values()
    ):
        raise bad_request("The body has to be one data set as DICOM JSON.")
    if _value(data_set.get(_STUDY, {})) not in ("", uid):
        raise bad_request("The body is of another study than the path.")
    others = data_set.keys() - _FIELDS.keys() - _PASSED_OVER
    if others:
        raise unfit(*((_named(tag), "It cannot be changed here.") for tag in sorted(others)))
    given = {_FIELDS[tag]: _said(tag, one) for tag, one in data_set.items() if tag in _FIELDS}
    try:
        return StudyPatch(**given)
    except ValidationError as error:
        faults = [(str(one["loc"][0]), one["msg"]) for one in error.errors(include_input=False)]
        raise unfit(*((KEYWORDS[name], said) for name, said in faults)) from None


def _named(tag: str) -> str:
    """Return what an attribute is called; of what is no tag nothing is repeated."""
    try:
        return keyword_for_tag(tag) or "an attribute"
    except ValueError:
        return "an attribute"


def _said(tag: str, element: Mapping[str, Any]) -> str:
    """Return a value as an edit takes it.

    Raises:
        ApiError: 422, it is none.
    """
    vr, value = dictionary_VR(tag), _value(element)
    if value is None or element.get("vr", vr) != vr:
        raise unfit((_named(tag), f"It has to be one value of VR {vr}."))
    if vr == "DA" and value.isdigit():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    if vr == "TM" and value:
        whole, _, fraction = value.partition(".")
        digits = f"{whole:0<6}"
        return f"{digits[:2]}:{digits[2:4]}:{digits[4:]}" + (f".{fraction}" if fraction else "")
    return value


def _value(element: Mapping[str, Any]) -> str | None:
    """Return the one value of an element as text, empty when there is none; None: it is no text."""
    values = element.get("Value", [])
    if values in ([], [None], None):
        return ""
    if not isinstance(values, list) or len(values) != 1:
        return None
    value = values[0]
    if isinstance(value, dict):
        groups = [value.get(group, "") for group in _GROUPS]
        if not all(isinstance(group, str) for group in groups):
            return None
        return "=".join(groups).rstrip("=")
    return value if isinstance(value, str) else None


def add(app: FastAPI) -> None:
    """Add the routes."""
    content = {kind: {"schema": {"type": "object"}} for kind in _KINDS}
    for method in ("PUT", "PATCH"):
        app.add_api_route(
            "/dicom-web/studies/{study}",
            change,
            methods=[method],
            status_code=204,
            name=f"{method.lower()}_study",
            tags=["STOW-RS"],
            response_class=Response,
            responses={**_DONE, **errors(400, 401, 403, 404, 409, 413, 415, 422, 428, 429, 503)},
            openapi_extra={
                "parameters": [in_path("study")],
                "requestBody": {"required": True, "content": content},
            },
        )
