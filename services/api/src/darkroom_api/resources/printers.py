"""Printers: list, show, add, change, remove, ask for their status (PRN-04, PRN-07)."""

import datetime as dt
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, NAMES, Catalogue, Listed, NamesQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_common.messages.printing import AskPrinter, DeletePrinter, PutPrinter
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.printers import QUIRKS, PrinterSpec

ASK_LIMIT: Final = 60.0
_PRINTER: Final = (
    "SELECT name, spec::text, version, status, status_info, status_at, created_at, updated_at"
    " FROM print.printer"
)
_STATUS: Final = {
    "": "It has not been asked yet.",
    "NORMAL": "It is ready.",
    "WARNING": "It prints, but wants attention.",
    "FAILURE": "It prints nothing until somebody attends to it; jobs wait and are tried again.",
    "AWAY": "It does not answer; jobs wait and are tried again.",
}
_INFO: Final = {
    "SUPPLY EMPTY": "the film or paper is used up",
    "SUPPLY LOW": "little film or paper is left",
    "NO SUPPLY MGZ": "the supply magazine is missing",
    "BAD SUPPLY MGZ": "the supply magazine cannot be used",
    "FULL RECEIVE MGZ": "the receive magazine is full",
    "NO RECEIVE MGZ": "the receive magazine is missing",
    "RECEIVER FULL": "the receiver is full",
    "FILM JAM": "film is jammed",
    "COVER OPEN": "a cover is open",
    "CHECK CHEMISTRY": "the chemistry of the processor wants attention",
    "CHEMICALS LOW": "the processor is low on chemicals",
    "CALIBRATING": "it calibrates itself",
    "CALIBRATION ERR": "its calibration has failed",
    "ELEC DOWN": "its electronics are not ready",
    "ELEC SW ERROR": "its electronics or software have failed",
    "PROC DOWN": "the film processor is not ready",
    "PROC OVERFLOW FL": "the processor's overflow is full",
    "FILM TRANS ERR": "film could not be moved",
    "PRINTER INIT": "it starts up",
    "PRINTER OFFLINE": "it is off line",
    "PROC INIT": "the film processor starts up",
    "QUEUED": "jobs wait in it",
    "EMPTY 8X10": "film of 8x10 inch is used up",
    "EMPTY 14X17": "film of 14x17 inch is used up",
    "LOW 8X10": "little film of 8x10 inch is left",
    "LOW 14X17": "little film of 14x17 inch is left",
    "NORMAL": "all is well",
}
"""Printer Status Info (2110,0020) in words, PS3.3 C.13.9.1; others are shown as they come."""


class NewPrinter(PrinterSpec):
    """A printer to add."""

    name: Name


class Printer(PrinterSpec):
    """A printer as it is."""

    name: str
    version: int = Field(description="grows with every change")
    status: str = Field(description="NORMAL, WARNING, FAILURE, AWAY; empty: never asked")
    status_info: str = Field(description="Printer Status Info, or why it is away")
    meaning: str = Field(description="status and info in words")
    status_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


class PrinterAnswer(BaseModel):
    """What a printer has said now."""

    ok: bool
    reason: str
    status: str
    info: str
    meaning: str
    seconds: float


class QuirkList(BaseModel):
    """What printers do against the standard, and what is done about it."""

    quirks: dict[str, str]


def in_words(status: str, info: str) -> str:
    """Return the status of a printer for people."""
    text = _STATUS.get(status, "")
    return f"{text[:-1]}: {_INFO[info]}." if text and info in _INFO and info != "NORMAL" else text


def _shown(row: Any) -> Printer:
    spec = PrinterSpec.model_validate_json(row["spec"])
    beside = {name: row[name] for name in row.keys() if name != "spec"}  # noqa: SIM118 - a Record
    beside["meaning"] = in_words(row["status"], row["status_info"])
    return Printer.model_validate({**spec.model_dump(), **beside})


_LIST: Final = Catalogue(_PRINTER, NAMES, _shown)


async def list_printers(
    request: Request, response: Response, asked: Annotated[NamesQuery, Query()]
) -> Listed[Printer]:
    """List all printers with their last known status."""
    return await list_of(request, response, asked, _LIST)


async def show_printer(request: Request, name: Name) -> Printer:
    """Show one printer."""
    async with parts_of(request.scope).database.acquire() as db:
        row = await db.fetchrow(_PRINTER + " WHERE name = $1", name)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no printer of this name.")
    return _shown(row)


async def _put(request: Request, name: str, given: PrinterSpec, *, only_new: bool) -> str:
    spec = PrinterSpec.model_validate(given.model_dump(include=set(PrinterSpec.model_fields)))
    by = principal_of(request.scope).username[:64]
    reply = await ask(
        request.scope, PutPrinter(name=name, printer=spec, only_new=only_new, requested_by=by)
    )
    return reply.outcome


async def add_printer(request: Request, response: Response, given: NewPrinter) -> Printer:
    """Add a printer."""
    await _put(request, given.name, given, only_new=True)
    response.headers["location"] = f"/api/v1/printers/{given.name}"
    return await show_printer(request, given.name)


async def change_printer(
    request: Request, response: Response, name: Name, given: PrinterSpec
) -> Printer:
    """Change a printer, or add it under this name."""
    if await _put(request, name, given, only_new=False) == "created":
        response.status_code = 201
    return await show_printer(request, name)


async def remove_printer(request: Request, name: Name) -> Response:
    """Remove a printer that no rule names and no job waits for."""
    by = principal_of(request.scope).username[:64]
    await ask(request.scope, DeletePrinter(name=name, requested_by=by))
    return Response(status_code=204)


async def ask_status(request: Request, name: Name) -> PrinterAnswer:
    """Ask a printer for its status now (N-GET). It says what happened, in 200."""
    reply = await ask(request.scope, AskPrinter(name=name), limit=ASK_LIMIT)
    status = "AWAY" if reply.body["reason"] else reply.body["status"]
    meaning = in_words(status, reply.body["info"])
    return PrinterAnswer.model_validate(reply.body | {"meaning": meaning})


async def list_quirks() -> QuirkList:
    """List the quirks that profiles and printers may name."""
    return QuirkList(quirks=QUIRKS)


def add(app: FastAPI) -> None:
    """Add the routes."""
    base, tags = "/api/v1/printers", ["print"]
    one = f"{base}/{{name}}"
    app.add_api_route(
        "/api/v1/printer-quirks", list_quirks, tags=[*tags], responses=errors(401, 403, 503)
    )
    app.add_api_route(
        base, list_printers, tags=[*tags], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        base,
        add_printer,
        methods=["POST"],
        status_code=201,
        tags=[*tags],
        responses=errors(400, 401, 403, 409, 413, 422, 500, 503),
    )
    app.add_api_route(one, show_printer, tags=[*tags], responses=errors(401, 403, 404, 422, 503))
    app.add_api_route(
        one,
        change_printer,
        methods=["PUT"],
        tags=[*tags],
        responses={
            201: {"description": "It was added.", "model": Printer},
            **errors(400, 401, 403, 413, 422, 500, 503),
        },
    )
    app.add_api_route(
        one,
        remove_printer,
        methods=["DELETE"],
        status_code=204,
        tags=[*tags],
        response_class=Response,
        responses=errors(401, 403, 404, 409, 422, 500, 503),
    )
    app.add_api_route(
        f"{one}/status",
        ask_status,
        methods=["POST"],
        tags=[*tags],
        responses=errors(401, 403, 404, 422, 500, 503),
    )
