"""WADO-URI: one object by its UIDs in a query (PS3.18 section 9)."""

from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.accept import MediaRange, accepted, parse_accept
from darkroom_api.dicomweb.retrieving.objects import choose, send_objects
from darkroom_api.dicomweb.retrieving.streaming import DICOM
from darkroom_api.http.documented import body, errors, parameter
from darkroom_api.http.errors import ApiError, bad_request, not_acceptable, study_not_found
from darkroom_api.http.parts import parts_of
from darkroom_api.rendering.appearance import (
    KINDS,
    MOST_PIXELS,
    Appearance,
    InvalidParameter,
    appearance,
)
from darkroom_api.rendering.exchange import Picture
from darkroom_api.rendering.negotiation import image_form
from darkroom_api.rendering.routes import Wanted, send_image
from darkroom_common.dicom.identity import LONGEST_UID
from darkroom_common.index.rows import StoredInstance

PATH: Final = "/dicom-web/wado"
_UIDS: Final = ("studyUID", "seriesUID", "objectUID")
_STATE: Final = ("presentationSeriesUID", "presentationUID")
_OF_IMAGES: Final = (
    "frameNumber",
    "rows",
    "columns",
    "region",
    "windowCenter",
    "windowWidth",
    "imageQuality",
    "annotation",
    *_STATE,
)
"""Parameters that shape an image, and make no sense of an object (sections 9.1.2.2, 9.1.2.3)."""
_OF_OBJECTS: Final = ("transferSyntax", "anonymize")
_CORNERS: Final = 4
_LONGEST: Final = 9


async def retrieve_by_query(request: Request) -> Response:
    """Retrieve one object, as it is or as an image."""
    given = _given(request)
    if given.get("requestType") != "WADO":
        raise _bad("requestType", "is not WADO")
    one = await _stored(request, given, _UIDS)
    ranges = _ranges(request, given, one)
    for wanted in ranges:
        if wanted.takes(DICOM):
            return await _object(request, given, one)
        if any(wanted.takes(kind) for kind in KINDS):
            return await _image(request, given, one, ranges)
    raise not_acceptable([DICOM, *KINDS])


def _given(request: Request) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise _bad(name if name in _KNOWN else "", "stands twice")
        given[name] = value
    return given


def _bad(name: str, reason: str) -> ApiError:
    return bad_request(f"{name or 'A parameter'} {reason}.", (name, reason))


async def _stored(
    request: Request, given: Mapping[str, str], names: tuple[str, ...]
) -> StoredInstance:
    """Return the instance that parameters name.

    Raises:
        ApiError: 400, one of them is missing; 404.
    """
    for name in names:
        if not given.get(name):
            raise _bad(name, "is missing")
    uids = [given[name] for name in names]
    if any(len(uid) > LONGEST_UID or not uid.isprintable() for uid in uids):
        raise study_not_found()
    if names == _UIDS:  # so that the audit log has them where it looks for those of other routes
        parts = ("study", "series", "instance")
        request.scope["path_params"] |= dict(zip(parts, uids, strict=True))
    found = await parts_of(request.scope).reader.stored(*uids)
    if not found:
        raise study_not_found()
    return found[0]


def _ranges(request: Request, given: Mapping[str, str], one: StoredInstance) -> list[MediaRange]:
    """Return what is accepted: contentType as far as Accept takes it (section 9.1.2.1.1)."""
    default = "image/jpeg" if one.rows and (one.frames or 1) == 1 else DICOM
    asked = parse_accept([given.get("contentType") or default])
    header = accepted(request)
    return [one for one in asked if any(each.takes(one.kind) for each in header)]


async def _object(request: Request, given: Mapping[str, str], one: StoredInstance) -> Response:
    for name in _OF_IMAGES:
        if name in given:
            raise _bad(name, f"shapes an image, and {DICOM} is none")
    if given.get("anonymize", "no").lower() != "no":
        raise _bad("anonymize", "is not offered here; objects are sent as they are")
    syntax = given.get("transferSyntax")
    form = choose([MediaRange(DICOM, transfer_syntax=syntax)], [one], single=True)
    return await send_objects(request, [one], form)


async def _image(
    request: Request, given: Mapping[str, str], one: StoredInstance, ranges: list[MediaRange]
) -> Response:
    for name in _OF_OBJECTS:
        if name in given:
            raise _bad(name, f"is of {DICOM} alone")
    form = image_form([each for each in ranges if not each.takes(DICOM)], one=True)
    if form is None:
        raise not_acceptable([DICOM, *KINDS])
    state = None
    if any(name in given for name in _STATE):
        if "windowCenter" in given or "windowWidth" in given:
            raise _bad("windowCenter", "and a presentation state exclude each other")
        state = await _stored(request, given, ("studyUID", *_STATE))
    frame = None
    if "frameNumber" in given:
        frame = (_whole(given, "frameNumber") - 1,)
    picture = Picture(frame, form.kind, _appearance(given, one))
    return await send_image(request, Wanted(one, picture, state))


def _whole(given: Mapping[str, str], name: str) -> int:
    text = given[name]
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST and int(text) > 0):
        raise _bad(name, "is not a number from 1")
    return int(text)


def _appearance(given: Mapping[str, str], one: StoredInstance) -> Appearance:
    """Return how the image is to be made.

    Raises:
        ApiError: 400, a parameter makes no sense.
    """
    named: list[tuple[str, str]] = []
    if ("windowCenter" in given) != ("windowWidth" in given):
        raise _bad("windowCenter", "and windowWidth come together")
    if "windowCenter" in given:
        named.append(("window", f"{given['windowCenter']},{given['windowWidth']}"))
    if "imageQuality" in given:
        named.append(("quality", given["imageQuality"]))
    if "annotation" in given:
        named.append(("annotation", given["annotation"]))
    if viewport := _viewport(given, one):
        named.append(("viewport", viewport))
    try:
        return appearance(named)
    except InvalidParameter as error:
        raise _bad(_AS_HERE[error.name], str(error)) from error


def _viewport(given: Mapping[str, str], one: StoredInstance) -> str:
    """Return rows, columns and region as a viewport; empty when none of them is given."""
    if not any(name in given for name in ("rows", "columns", "region")):
        return ""
    rows = _whole(given, "rows") if "rows" in given else 0
    columns = _whole(given, "columns") if "columns" in given else 0
    region: tuple[float, ...] = (0.0, 0.0, 1.0, 1.0)
    if "region" in given:
        region = _region(given["region"])
    left, top, right, bottom = region
    width, height = one.columns or 0, one.rows or 0
    part = (left * width, top * height, (right - left) * width, (bottom - top) * height)
    if not rows and not columns:
        rows, columns = max(1, round(part[3])), max(1, round(part[2]))
    size = f"{min(columns or MOST_PIXELS, MOST_PIXELS)},{min(rows or MOST_PIXELS, MOST_PIXELS)}"
    if "region" not in given:
        return size
    return ",".join([size, *(f"{one:.6g}" for one in part)])


def _region(text: str) -> tuple[float, ...]:
    """Return left, top, right and bottom, each from 0 to 1."""
    parts = text.split(",")
    try:
        found = tuple(float(part) for part in parts if len(part) <= _LONGEST + _LONGEST)
    except ValueError:
        found = ()
    inside = all(0.0 <= one <= 1.0 for one in found)
    if len(found) != _CORNERS or not inside or found[0] >= found[2] or found[1] >= found[3]:
        raise _bad("region", "is not xmin,ymin,xmax,ymax, each from 0 to 1")
    return found


_AS_HERE: Final = {
    "window": "windowCenter",
    "quality": "imageQuality",
    "annotation": "annotation",
    "viewport": "rows",
}
_KNOWN: Final = frozenset(
    ("requestType", "contentType", "charset", *_UIDS, *_OF_IMAGES, *_OF_OBJECTS)
)
_PARAMETERS: Final = [
    parameter(name, description)
    for name, description in (
        ("requestType", "WADO."),
        ("studyUID", "Of the study."),
        ("seriesUID", "Of the series."),
        ("objectUID", "Of the instance."),
        ("contentType", "Media types, by comma; an image of one frame is image/jpeg by itself."),
        ("transferSyntax", "Of application/dicom."),
        ("frameNumber", "Of an image, from 1."),
        ("rows", "At most, of an image."),
        ("columns", "At most, of an image."),
        ("region", "xmin,ymin,xmax,ymax, from 0 to 1."),
        ("windowCenter", "With windowWidth."),
        ("windowWidth", "With windowCenter."),
        ("imageQuality", "1 to 100, of JPEG."),
        ("annotation", "patient, technique, or both with a comma."),
        ("presentationSeriesUID", "With presentationUID."),
        ("presentationUID", "The presentation state that the image is shown by."),
        ("anonymize", "Refused."),
    )
]


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route(
        PATH,
        retrieve_by_query,
        tags=["WADO-URI"],
        response_class=Response,
        responses={
            **body("The object, or an image of it.", DICOM, *KINDS),
            304: {"description": "The client has it already."},
            **errors(400, 401, 403, 404, 406, 412, 416, 429, 500, 503),
        },
        openapi_extra={"parameters": _PARAMETERS},
    )
