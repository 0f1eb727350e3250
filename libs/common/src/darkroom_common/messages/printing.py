"""What print is asked for and answers at once; a `Reply` tells the real outcome."""

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from darkroom_common.messages.base import MessageId, Request
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.films import FilmOrder

By = Field(default="", max_length=64, description="user name")


class AskPrinter(Request):
    """Ask a printer for its status now: connect, negotiate, N-GET."""

    TYPE: ClassVar[str] = "print.printer.ask.v1"

    name: Name


class ActOnPrintJob(Request):
    """Retry a job, cancel it, or say of an unknown one that its film has come out."""

    TYPE: ClassVar[str] = "print.job.act.v1"

    job_id: MessageId
    action: Literal["retry", "cancel", "confirm"]
    requested_by: str = By


class DrawFilm(Request):
    """Compose a film and keep it as a picture for a while.

    Of a job, or, without one, of the order in `sealed`. The reply names the picture.
    """

    TYPE: ClassVar[str] = "print.film.draw.v1"
    SEALED: ClassVar[type[BaseModel] | None] = FilmOrder

    printer: Name | None = None
    job_id: MessageId | None = None
    film: int = Field(default=1, ge=0, le=10_000, description="0: all, for a PDF")
    form: Literal["png", "pdf"] = "png"
    max_edge: int | None = Field(default=None, ge=64, le=20_000)


PRINT_REQUESTS = (AskPrinter, ActOnPrintJob, DrawFilm)
