"""Workitems one by one: create, retrieve, update, change the state, ask to cancel."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.accept import accepted
from darkroom_api.dicomweb.address import dicomweb_url
from darkroom_api.dicomweb.forms import DICOM_XML, Form, form_of, xml_parts
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.native_model import native_xml
from darkroom_api.dicomweb.workitems.asking import (
    act,
    ae_title_of,
    named_uid,
    not_there,
    payload_of,
    uid_of,
)
from darkroom_api.http.documented import body, errors, parameter
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import is_known
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import DICOM_JSON, VARY, json_response
from darkroom_common.readers import workitems

BASE: Final = "/dicom-web/workitems"
ONE: Final = BASE + "/{workitem}"


async def create(request: Request) -> Response:
    """Create a workitem; its UID is the address's, the data set's, or a new one."""
    uid = named_uid(request, "workitem", "affectedsopinstanceuid")
    done = await act(request, "create", uid or None, await payload_of(request))
    address = f"{dicomweb_url(request)}/workitems/{done.uid}"
    headers = {**done.headers, "location": address, "content-location": address}
    return Response(status_code=201, headers=headers)


async def retrieve(request: Request) -> Response:
    """Retrieve a workitem, without the lock of its owner."""
    parts, uid = parts_of(request.scope), uid_of(request)
    plain = any(one.kind == DICOM_XML and one.quality > 0 for one in accepted(request))
    form = Form.XML if plain else form_of(request)
    async with parts.database.acquire() as db:
        found = await workitems.workitem(db, parts.seal, uid)
        gone = found is None and await workitems.is_gone(db, uid)
    if found is None:
        raise ApiError(410, Code.NOT_FOUND, "It was removed.") if gone else not_there()
    tag = f'W/"{found.version}-{"xml" if form is Form.XML else "json"}"'
    headers = {"etag": tag, "vary": VARY}
    if is_known(request, tag):
        return Response(status_code=304, headers=headers)
    headers["content-location"] = f"{dicomweb_url(request)}/workitems/{uid}"
    if form is not Form.XML:
        shown = [found.attributes]
        return await json_response(request, shown, media_type=form.value, headers=headers)
    if plain:
        return Response(native_xml(found.attributes), headers=headers, media_type=DICOM_XML)
    framing = Framing(DICOM_XML)
    data = xml_parts([found.attributes], framing, first=True) + framing.tail
    return Response(data, headers={**headers, "content-type": framing.content_type})


async def update(request: Request) -> Response:
    """Set attributes of a workitem; of one that is claimed, with the transaction UID."""
    transaction = named_uid(request, "transaction-uid", "transactionuid")
    payload = await payload_of(request)
    given = payload.model_copy(update={"transaction_uid": transaction})
    done = await act(request, "update", uid_of(request), given)
    return _changed(request, done.uid, done.headers)


async def change_state(request: Request) -> Response:
    """Claim, complete or cancel a workitem."""
    ae_title_of(request)
    done = await act(request, "change-state", uid_of(request), await payload_of(request))
    return _changed(request, done.uid, done.headers)


async def request_cancel(request: Request) -> Response:
    """Ask for a workitem to be canceled; the owner of one that is claimed is told."""
    requester = ae_title_of(request)
    given = await payload_of(request)
    done = await act(request, "request-cancel", uid_of(request), given, requester)
    return Response(status_code=202, headers=done.headers)


def _changed(request: Request, uid: str, headers: dict[str, str]) -> Response:
    address = f"{dicomweb_url(request)}/workitems/{uid}"
    return Response(status_code=200, headers={**headers, "content-location": address})


def in_path(name: str, description: str) -> dict[str, Any]:
    """Return the OpenAPI entry of a parameter of the path."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": description,
    }


WORKITEM: Final = in_path("workitem", "UID of the workitem.")
AE_TITLE: Final = in_path("ae_title", "AE title of the subscriber.")


def _taken(text: str, *, required: bool = True) -> dict[str, Any]:
    schema = {"type": "object"}
    kinds = {DICOM_JSON: {"schema": schema}, DICOM_XML: {"schema": {"type": "string"}}}
    return {"description": text, "required": required, "content": kinds}


def add(app: FastAPI) -> None:
    """Add the routes."""
    failures = errors(400, 401, 403, 404, 409, 410, 413, 415, 503)
    done = {"description": "Done; `Warning` says what is not quite as asked."}
    uid = parameter("workitem", "UID of the workitem; left out: the data set's, or a new one.")
    lock = parameter("transaction-uid", "The lock, of a workitem that is claimed.")
    app.add_api_route(
        BASE,
        create,
        name="create_workitem",
        methods=["POST"],
        status_code=201,
        tags=["UPS-RS"],
        response_class=Response,
        responses={201: done, **errors(400, 401, 403, 409, 413, 415, 503)},
        openapi_extra={"parameters": [uid], "requestBody": _taken("The data set.")},
    )
    app.add_api_route(
        ONE,
        retrieve,
        name="retrieve_workitem",
        tags=["UPS-RS"],
        response_class=Response,
        responses={
            **body("The workitem.", DICOM_JSON, DICOM_XML, "multipart/related"),
            304: {"description": "It is still as `If-None-Match` says."},
            **errors(400, 401, 403, 404, 406, 410, 503),
        },
        openapi_extra={"parameters": [WORKITEM]},
    )
    app.add_api_route(
        ONE,
        update,
        name="update_workitem",
        methods=["POST"],
        tags=["UPS-RS"],
        response_class=Response,
        responses={200: done, **failures},
        openapi_extra={
            "parameters": [WORKITEM, lock],
            "requestBody": _taken("The attributes to set."),
        },
    )
    for suffix, more in (("", []), ("/{ae_title}", [in_path("ae_title", "AE title that asks.")])):
        named = "_of_ae" if suffix else ""
        app.add_api_route(
            f"{ONE}/state{suffix}",
            change_state,
            name=f"change_workitem_state{named}",
            methods=["PUT"],
            tags=["UPS-RS"],
            response_class=Response,
            responses={200: done, **failures},
            openapi_extra={
                "parameters": [WORKITEM, *more],
                "requestBody": _taken("Transaction UID and Procedure Step State."),
            },
        )
        app.add_api_route(
            f"{ONE}/cancelrequest{suffix}",
            request_cancel,
            name=f"request_workitem_cancel{named}",
            methods=["POST"],
            status_code=202,
            tags=["UPS-RS"],
            response_class=Response,
            responses={202: done, **failures},
            openapi_extra={
                "parameters": [WORKITEM, *more],
                "requestBody": _taken("Why, and who may be asked.", required=False),
            },
        )
