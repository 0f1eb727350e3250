"""In which form data sets are answered: DICOM JSON, or the Native DICOM Model (PS3.18 8.7.3)."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from starlette.requests import Request

from darkroom_api.dicomweb.accept import MULTIPART, MediaRange, accepted
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.native_model import native_xml
from darkroom_api.http.errors import not_acceptable
from darkroom_api.http.responses import DICOM_JSON
from darkroom_common.index.rows import Json

DICOM_XML: Final = "application/dicom+xml"
MULTIPART_XML: Final = f'{MULTIPART}; type="{DICOM_XML}"'


class Form(StrEnum):
    """A form, by the media type of the answer, or of its parts."""

    DICOM_JSON = DICOM_JSON
    JSON = "application/json"
    XML = DICOM_XML


def form_of(request: Request) -> Form:
    """Return the form that a client wants most; among equals JSON.

    The most specific range that covers a form says how much it is wanted (RFC 9110 12.5.1).

    Raises:
        ApiError: 406, it wants neither.
    """
    ranges = accepted(request)
    best = max(Form, key=lambda form: _wanted(ranges, form))
    if _wanted(ranges, best) <= 0:
        raise not_acceptable([DICOM_JSON, MULTIPART_XML])
    return best


def _wanted(ranges: list[MediaRange], form: Form) -> float:
    """Return the quality of a form, 0 to 1."""
    found = [one for one in ranges if _covers(one, form)]
    return max(found, key=_narrowness).quality if found else 0.0


def _covers(one: MediaRange, form: Form) -> bool:
    if one.kind == MULTIPART:
        return form is Form.XML and one.part in ("", "*/*", "application/*", DICOM_XML)
    multipart = "multipart/*"
    wide = ("*/*", multipart) if form is Form.XML else ("*/*", "application/*")
    return one.kind in wide or (form is not Form.XML and one.kind == form.value)


def _narrowness(one: MediaRange) -> tuple[int, int]:
    return -one.kind.count("*"), -one.part.count("*") if one.part else -2


def xml_parts(data_sets: Sequence[Json], framing: Framing, *, first: bool) -> bytes:
    """Return data sets as parts of a multipart answer, without its end."""
    parts: list[bytes] = []
    for data_set in data_sets:
        text = native_xml(data_set)
        head = framing.head(DICOM_XML, first=first and not parts, length=len(text))
        parts += (head, text)
    return b"".join(parts)
