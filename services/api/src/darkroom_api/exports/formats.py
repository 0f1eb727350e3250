"""The formats of exports: what each is called, how it is written, and how much goes into one."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Final, Literal

from darkroom_api.exports.table import Table

ListFormat = Literal["csv", "excel", "pdf"]
"""Of a list of studies."""
Format = Literal["csv", "excel", "pdf", "person"]
"""`person`: all that there is of one person (`darkroom_api.subjects`)."""


@dataclass(frozen=True)
class Written:
    """A format.

    Attributes:
        ending: of the names of its files.
        most: studies in one file.
        seconds: for a study, to tell people how long they may have to wait.
        stem: what the names of its files begin with.
    """

    media_type: str
    ending: str
    most: int
    seconds: float
    stem: str = "studies"

    def file_name(self, made_at: dt.datetime) -> str:
        """Return what a browser saves a download as."""
        return f"{self.stem}-{made_at:%Y%m%d-%H%M%S}.{self.ending}"


_WRITERS: Final[dict[ListFormat, str]] = {
    "csv": "darkroom_api.exports.csv_file",
    "excel": "darkroom_api.exports.excel_file",
    "pdf": "darkroom_api.exports.pdf_file",
}
_SHEET: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMATS: Final[dict[Format, Written]] = {
    "csv": Written("text/csv; charset=utf-8", "csv", 2_000_000, 0.00003),
    "excel": Written(_SHEET, "xlsx", (1 << 20) - 1, 0.00006),
    "pdf": Written("application/pdf", "pdf", 200_000, 0.00015),
    "person": Written("application/zip", "zip", 0, 0.0, "person"),
}


def writer(name: ListFormat) -> Callable[[Table], Iterator[bytes]]:
    """Return what writes a format; only the process that does so loads what that takes."""
    content: Callable[[Table], Iterator[bytes]] = import_module(_WRITERS[name]).content
    return content
