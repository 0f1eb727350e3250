"""STOW-RS (PS3.18 section 10.5)."""

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from darkroom_api.audit.recorded import MORE
from darkroom_api.dicomweb.accept import accepted
from darkroom_api.dicomweb.address import dicomweb_url, in_path, uid_of
from darkroom_api.dicomweb.native_model import native_xml
from darkroom_api.dicomweb.storing.answer import data_set, status_of
from darkroom_api.dicomweb.storing.handover import (
    CONNECT_SECONDS,
    ROOM_SECONDS,
    SETTLE_SECONDS,
    WRITE_SECONDS,
    NotTaken,
)
from darkroom_api.http.asking import service_away
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import RETRY_AFTER, ApiError, Code, bad_request, not_acceptable
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import DICOM_JSON, json_response
from darkroom_common.dicom.identity import is_conformant
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.stow.handover import Outcome
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_STORED: Final = (
    "What has become of each object: ReferencedSOPSequence, FailedSOPSequence with FailureReason."
)
DICOM_XML: Final = "application/dicom+xml"
_KINDS: Final = ("multipart/related", "application/dicom")
_REFUSED: Final = (400, 415, 503)
"""What ingest says of a body; anything else, it says of us: clocks or keys that do not agree."""
_KINDS_TAKEN: Final = "The body is of none of the media types that this takes."
_PATH_UID: Final = re.compile(r"[!-.0-~]*")
"""What may be the UID of a received object, ASCII without a space or a slash."""
_LONGEST_TYPE: Final = 4096
"""Characters of a Content-Type, which is handed on in a head."""
_SILENCE: Final = WRITE_SECONDS + 10.0
"""Seconds in which something of a body must come, and be taken."""
_STUDIES_KEPT: Final = 50
"""UIDs of studies in a row of the audit log."""
_FAULTS: Final = {
    "unterminated": "The last delimiter of the body is missing.",
    "boundary": "The boundary is none.",
    "preamble": "Too much stands before the first part of the body.",
    "long-head": "A part of the body has too long a head.",
    "many-fields": "A part of the body has too many fields.",
    "field": "A part of the body has a field that is none.",
}


async def store(request: Request) -> Response:
    """Store the objects of a body, each with the guarantee of C-STORE."""
    as_xml = _wants_xml(request)
    study = uid_of(request, "study") if "study" in request.path_params else ""
    if _PATH_UID.fullmatch(study) is None:
        raise bad_request("The path names a study that no object can be of.")
    content_type = _content_type(request)
    wait_for_another(request.scope, CONNECT_SECONDS + ROOM_SECONDS)
    try:
        outcome = await parts_of(request.scope).handover.store(
            content_type, study, _chunks(request)
        )
    except NotTaken as refused:
        if refused.status not in _REFUSED:
            log.error("stow.not_understood", status=refused.status)
            raise service_away() from refused
        raise _refusal(refused.status) from refused
    except DependencyUnavailable as away:
        log.warning("stow.unanswered", reason=str(away))
        raise service_away() from away
    except ClientDisconnect as gone:
        raise bad_request("The body has not come whole.") from gone
    _keep(request, outcome)
    status = status_of(outcome)
    if status == HTTPStatus.BAD_REQUEST:
        raise bad_request(_FAULTS.get(outcome.fault, "The body has no part."))
    told = data_set(outcome, dicomweb_url(request))
    if as_xml:
        answer = Response(native_xml(told), media_type=DICOM_XML, headers={"vary": "Accept"})
    else:
        answer = await json_response(request, told)
    answer.status_code = status
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["retry-after"] = RETRY_AFTER
    if outcome.fault:
        answer.headers["warning"] = f'299 darkroom "Not all of the body was read: {outcome.fault}"'
    return answer


def _wants_xml(request: Request) -> bool:
    """Tell whether the answer is to be XML; among equals it is JSON.

    Raises:
        ApiError: 406, it is to be neither.
    """
    for one in accepted(request):
        if any(one.takes(kind) for kind in (DICOM_JSON, "application/json")):
            return False
        if one.takes(DICOM_XML) or one.takes_parts(DICOM_XML):
            return True
    raise not_acceptable([DICOM_JSON, DICOM_XML])


def _content_type(request: Request) -> str:
    """Return the media type of the body.

    Raises:
        ApiError: 411, nothing frames the body; 415, it has none, or is encoded.
    """
    fields = request.headers
    if "content-length" not in fields and "transfer-encoding" not in fields:
        raise ApiError(411, Code.INVALID_REQUEST, "A body is needed, and how long it is.")
    if fields.get("content-encoding", "identity").lower() != "identity":
        raise _refusal(415)
    declared = int(fields.get("content-length", "0"))
    if declared > parts_of(request.scope).settings.stow_limit:
        raise HTTPException(413)
    kind = fields.get("content-type", "")
    if len(kind) > _LONGEST_TYPE:
        raise _refusal(400)
    return kind


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    wait_for_another(request.scope, _SILENCE)
    async for chunk in request.stream():
        yield chunk
        wait_for_another(request.scope, _SILENCE)
    wait_for_another(request.scope, SETTLE_SECONDS)


def _refusal(status: int) -> ApiError:
    if status == HTTPStatus.BAD_REQUEST:
        return bad_request(_FAULTS["boundary"])
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return ApiError(415, Code.UNSUPPORTED_MEDIA_TYPE, _KINDS_TAKEN)
    return ApiError(
        503,
        Code.SERVICE_AWAY,
        "There is no room for objects at the moment.",
        headers={"Retry-After": RETRY_AFTER},
    )


def _keep(request: Request, outcome: Outcome) -> None:
    """Have the row of the audit log say what has become of it."""
    stored = [item for item in outcome.items if not item.failure]
    studies = {item.study_instance_uid for item in stored if is_conformant(item.study_instance_uid)}
    more: dict[str, Any] = {"stored": len(stored), "failed": len(outcome.items) - len(stored)}
    request.scope["state"][MORE] = more | {"studies": sorted(studies)[:_STUDIES_KEPT]}


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path, names in (("/dicom-web/studies", []), ("/dicom-web/studies/{study}", ["study"])):
        content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _KINDS}
        said = {
            "content": {
                DICOM_JSON: {"schema": {"type": "object"}},
                DICOM_XML: {"schema": {"type": "string"}},
            }
        }
        app.add_api_route(
            path,
            store,
            methods=["POST"],
            name="store" if not names else "store_study",
            tags=["STOW-RS"],
            response_class=Response,
            responses={
                200: {"description": _STORED, **said},
                202: {"description": "The same, when not all is stored.", **said},
                409: {"description": "The same, when nothing is stored.", **said},
                **errors(400, 401, 403, 404, 406, 411, 413, 415, 429, 500, 503),
            },
            openapi_extra={
                "parameters": [in_path(name) for name in names],
                "requestBody": {"required": True, "content": content},
            },
        )
