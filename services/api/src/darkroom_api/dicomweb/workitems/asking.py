"""Has ingest, which keeps workitems, do what is asked, and says what came of it by HTTP."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from darkroom_api.dicomweb.address import dicomweb_url
from darkroom_api.dicomweb.forms import DICOM_XML
from darkroom_api.http.asking import ask
from darkroom_api.http.errors import RETRY_AFTER, ApiError, Code, bad_request
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_common.dicom.identity import is_conformant
from darkroom_common.messages.base import Reply
from darkroom_common.messages.requests import ActOnSubscription, ActOnWorkitem
from darkroom_common.specs.worklist.workitems import (
    NO_TRANSACTION,
    PAYLOAD_LIMIT,
    Keys,
    Payload,
    UpsStatus,
)

_JSON: Final = frozenset({"application/dicom+json", "application/json"})
_XML: Final = frozenset({DICOM_XML, "application/xml"})
_AE_TITLE: Final = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")
_SEALED: Final = 1 << 20
_UNCLAIMED: Final = "The target URI did not reference a claimed Workitem."
_OF_WORKITEM: Final = (
    "The submitted request is inconsistent with the current state of the Workitem."
)
_OF_INSTANCE: Final = "The submitted request is inconsistent with the state of the UPS Instance."
_SAID: Final[Mapping[UpsStatus, str]] = {
    UpsStatus.NO_DELETION_LOCK: "Deletion Lock not granted.",
    UpsStatus.ALREADY_CANCELED: "The UPS is already in the requested state of CANCELED.",
    UpsStatus.ALREADY_COMPLETED: "The UPS is already in the requested state of COMPLETED.",
}
_FAILED: Final[Mapping[UpsStatus, tuple[int, Code]]] = {
    UpsStatus.NOT_THERE: (404, Code.NOT_FOUND),
    UpsStatus.GONE: (410, Code.NOT_FOUND),
    UpsStatus.NOT_AUTHORISED: (403, Code.PERMISSION_DENIED),
    UpsStatus.RESOURCE_LIMITATION: (503, Code.SERVICE_AWAY),
    UpsStatus.WRONG_TRANSACTION: (400, Code.INVALID_REQUEST),
    UpsStatus.INVALID_ATTRIBUTE_VALUE: (400, Code.INVALID_REQUEST),
    UpsStatus.MISSING_ATTRIBUTE: (400, Code.INVALID_REQUEST),
    UpsStatus.MISSING_ATTRIBUTE_VALUE: (400, Code.INVALID_REQUEST),
    UpsStatus.NOT_SCHEDULED: (400, Code.INVALID_REQUEST),
}
_CONFLICT: Final = (409, Code.CONFLICT)


@dataclass(frozen=True)
class Done:
    """What came of a request.

    Attributes:
        uid: of the workitem.
        headers: what is to be said of it.
    """

    uid: str
    headers: dict[str, str]


async def payload_of(request: Request) -> Payload:
    """Return the data set that was sent, as it is.

    Raises:
        ApiError: 415, it is of another media type.
        HTTPException: 413, it is too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    coded = request.headers.get("content-encoding", "identity").strip().lower() != "identity"
    body = await request.body()
    if len(body) > PAYLOAD_LIMIT:
        raise HTTPException(413)
    if coded or (kind not in _JSON | _XML and (kind or body)):
        text = f"The body has to be application/dicom+json or {DICOM_XML}, as it is."
        raise ApiError(415, Code.UNSUPPORTED_MEDIA_TYPE, text)
    try:
        content = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_request("The body is not in UTF-8.") from error
    if "\0" in content:  # neither JSON nor XML has one, and no message takes one
        raise bad_request("The body has a NUL character.")
    return Payload(form="xml" if kind in _XML else "json", content=content)


async def act(
    request: Request, action: str, uid: str | None, payload: Payload, requester: str = ""
) -> Done:
    """Have something become of a workitem.

    Raises:
        ApiError: nothing does.
        HTTPException: 413, the payload is too large.
    """
    seal = parts_of(request.scope).seal
    sealed = seal.seal(payload.model_dump(mode="json"), purpose=ActOnWorkitem.TYPE)
    if len(sealed) > _SEALED:
        raise HTTPException(413)
    message = ActOnWorkitem.model_validate(
        {
            "action": action,
            "sop_instance_uid": uid,
            "requester": requester,
            "sealed": sealed,
            "requested_by": principal_of(request.scope).username[:64],
        }
    )
    return _done(request, action, await ask(request.scope, message))


async def subscribe(
    request: Request, action: str, *, lock: bool = False, keys: Mapping[str, str] | None = None
) -> Done:
    """Have an AE subscribe to what the path names, or do so no longer.

    Raises:
        ApiError: it is not done.
    """
    message = ActOnSubscription.model_validate(
        {
            "action": action,
            "ae_title": ae_title_of(request),
            "target": uid_of(request),
            "deletion_lock": lock,
            "requested_by": principal_of(request.scope).username[:64],
            "sealed": ""
            if keys is None
            else parts_of(request.scope).seal.seal(
                Keys(values=dict(keys)).model_dump(), purpose=ActOnSubscription.TYPE
            ),
        }
    )
    return _done(request, action, await ask(request.scope, message))


def _done(request: Request, action: str, reply: Reply) -> Done:
    status = UpsStatus(int(reply.body["status"]))
    reason = str(reply.body.get("reason", ""))
    said = _said(action, status, reason)
    headers = {"warning": f"299 {dicomweb_url(request)}: {said}"} if said else {}
    if not status.failed:
        return Done(str(reply.body["uid"]), headers)
    code, word = _FAILED.get(status, _CONFLICT)
    if status is UpsStatus.FINAL and action == "update":
        code, word = 400, Code.INVALID_REQUEST  # PS3.18 section 11.6.2
    if status is UpsStatus.RESOURCE_LIMITATION:
        headers["retry-after"] = RETRY_AFTER
    tags = [(str(tag), reason) for tag in reply.body.get("tags", ())]
    detail = f"{reason[:1].upper()}{reason[1:]}."
    fault = ApiError(code, word, detail, errors=tags, headers=headers)
    known = UpsStatus.NOT_THERE if status is UpsStatus.GONE else status
    fault.more = {"dicom_status": f"{known:04X}"}
    raise fault


def _said(action: str, status: UpsStatus, reason: str) -> str:
    """Return what the header Warning says (PS3.18 sections 11.4 to 11.10)."""
    if status is UpsStatus.MODIFIED:
        done = "created" if action == "create" else "updated"
        return f"The Workitem was {done} with modifications."
    if status is UpsStatus.WRONG_TRANSACTION:
        missing = reason == NO_TRANSACTION
        return f"The Transaction UID is {'missing' if missing else 'incorrect'}."
    if status in _SAID or not status.failed:
        return _SAID.get(status, "")
    if action == "update" and status is UpsStatus.NOT_IN_PROGRESS:
        return _UNCLAIMED
    if status is UpsStatus.FINAL or _FAILED.get(status, _CONFLICT) is _CONFLICT:
        return _OF_INSTANCE if action == "change-state" else _OF_WORKITEM
    return ""


def uid_of(request: Request) -> str:
    """Return the UID of the path.

    Raises:
        ApiError: 404, nothing can have it.
    """
    uid: str = request.path_params["workitem"]
    if not is_conformant(uid):
        raise not_there()
    return uid


def ae_title_of(request: Request) -> str:
    """Return the AE title of the path; empty: it has none.

    Raises:
        ApiError: 400, it is none.
    """
    ae_title: str = request.path_params.get("ae_title", "")
    if ae_title and _AE_TITLE.fullmatch(ae_title) is None:
        raise bad_request("This is no AE title.", ("path.ae_title", "it is no AE title"))
    return ae_title


def not_there() -> ApiError:
    """Return the answer for a workitem that is not there."""
    return ApiError(404, Code.NOT_FOUND, "There is no such workitem.")


def named_uid(request: Request, *names: str) -> str:
    """Return the UID that the query has under a name, or as its only word; empty: it has none.

    Raises:
        ApiError: 400, what it has is none.
    """
    items = request.query_params.multi_items()
    found = [value for name, value in items if name.lower() in names]
    found += [name for name, value in items if not value and is_conformant(name)]
    if len(found) > 1 or not all(map(is_conformant, found)):
        raise bad_request("This is no UID.", (f"query.{names[0]}", "it is no UID"))
    return next(iter(found), "")
