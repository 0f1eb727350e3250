"""Printers and auto-print rules (PRN-04, PRN-07): with the status of printers in words."""

from typing import Final

from fastapi import FastAPI
from pydantic import BaseModel, computed_field
from starlette.requests import Request

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.resources.served import serve
from darkroom_common.messages.requests import AskPrinter
from darkroom_common.resources.declared import PRINT_RULES, PRINTERS, PrinterState
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.printers import QUIRKS

ASK_LIMIT: Final = 60.0
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


class ShownPrinterState(PrinterState):
    """What is shown of a printer beside its spec."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def meaning(self) -> str:
        """Status and info in words."""
        return in_words(self.status, self.status_info)


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
    serve(app, PRINTERS, ShownPrinterState)
    serve(app, PRINT_RULES)
    app.add_api_route(
        "/api/v1/printer-quirks", list_quirks, tags=[PRINTERS.tag], responses=errors(401, 403, 503)
    )
    app.add_api_route(
        f"{PRINTERS.path}/{{name}}/status",
        ask_status,
        methods=["POST"],
        tags=[PRINTERS.tag],
        responses=errors(401, 403, 404, 422, 500, 503),
    )
