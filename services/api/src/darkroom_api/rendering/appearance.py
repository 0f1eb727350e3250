"""How an image is to be rendered: the query parameters of PS3.18 section 8.3.5.1, as values."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from darkroom_common.errors import PermanentError
from darkroom_common.pixels.window import InvalidWindow, VoiFunction, Window

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"
KINDS: Final = (JPEG, PNG, GIF)
"""What can be rendered; the first is the default (PS3.18 table 8.7.4-1)."""
QUALITY: Final = 90
THUMBNAIL: Final = 128
"""Pixels of the longer edge of a thumbnail, unless a viewport is asked for."""
MOST_PIXELS: Final = 8192
"""Of an edge of a viewport."""
_LONGEST: Final = 20  # characters of a number
_SIZE: Final = 2
_REGION: Final = 6
_WINDOW: Final = 3
_FUNCTIONS: Final = {
    "linear": VoiFunction.LINEAR,
    "linear-exact": VoiFunction.LINEAR_EXACT,
    "sigmoid": VoiFunction.SIGMOID,
}
NAMES: Final = ("window", "viewport", "quality", "annotation", "iccprofile")


class InvalidParameter(PermanentError):
    """A parameter of rendering makes no sense.

    Attributes:
        name: of the parameter.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class Annotation(StrEnum):
    """What is written on an image (section 8.3.5.1.2)."""

    PATIENT = "patient"
    TECHNIQUE = "technique"


class IccProfile(StrEnum):
    """The colour space of an image, and whether its profile is in it (section 8.3.5.1.5)."""

    NO = "no"
    YES = "yes"
    SRGB = "srgb"
    ADOBERGB = "adobergb"
    ROMMRGB = "rommrgb"
    DISPLAYP3 = "displayp3"


@dataclass(frozen=True, slots=True)
class Viewport:
    """The size that is to be filled, and the part of the image that fills it (8.3.5.1.3).

    Attributes:
        columns: of the viewport.
        rows: of the viewport.
        left: of the part, in pixels of the image.
        top: of the part.
        width: of the part, negative to flip it; None: all of the image.
        height: likewise.
    """

    columns: int
    rows: int
    left: float = 0.0
    top: float = 0.0
    width: float | None = None
    height: float | None = None


@dataclass(frozen=True, slots=True)
class Appearance:
    """How an image is rendered.

    Attributes:
        window: instead of what the header says.
        viewport: None: pixel for pixel.
        quality: of JPEG, 1 to 100.
        annotations: what is written on it.
        icc: see there.
    """

    window: Window | None = None
    viewport: Viewport | None = None
    quality: int = QUALITY
    annotations: tuple[Annotation, ...] = ()
    icc: IccProfile = IccProfile.NO


def appearance(items: Iterable[tuple[str, str]]) -> Appearance:
    """Return what the query parameters of a rendered resource ask for; others are passed over.

    Raises:
        InvalidParameter: one of them makes no sense, or stands twice.
    """
    given = _once(items)
    return Appearance(
        _window(given.get("window")),
        _viewport(given.get("viewport"), most=_REGION),
        _quality(given.get("quality")),
        _annotations(given.get("annotation")),
        _icc(given.get("iccprofile")),
    )


def thumbnail(items: Iterable[tuple[str, str]]) -> Appearance:
    """Return what those of a thumbnail ask for: a viewport, and nothing else (10.4.1.1.5).

    Raises:
        InvalidParameter: it makes no sense.
    """
    viewport = _viewport(_once(items).get("viewport"), most=_SIZE)
    return Appearance(viewport=viewport or Viewport(THUMBNAIL, THUMBNAIL))


def _once(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in items:
        if name in NAMES and given.setdefault(name, value) != value:
            raise InvalidParameter(name, "stands twice")
    return given


def _number(name: str, text: str) -> float:
    try:
        found = float(text) if len(text) <= _LONGEST and "_" not in text else math.nan
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise InvalidParameter(name, "has something that is no number")
    return found


def _whole(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST and 1 <= int(text) <= most):
        raise InvalidParameter(name, f"has a number that is not from 1 to {most}")
    return int(text)


def _window(text: str | None) -> Window | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (_WINDOW - 1, _WINDOW):
        raise InvalidParameter("window", "is not center,width,function")
    function = _FUNCTIONS.get(parts[2].lower() if len(parts) == _WINDOW else "linear")
    if function is None:
        raise InvalidParameter("window", "has another function than linear, linear-exact, sigmoid")
    center, width = (_number("window", part) for part in parts[:2])
    try:
        return Window(center, width, function)
    except InvalidWindow as error:
        raise InvalidParameter("window", str(error)) from error


def _viewport(text: str | None, *, most: int) -> Viewport | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not _SIZE <= len(parts) <= most:
        form = "vw,vh" if most == _SIZE else "vw,vh,sx,sy,sw,sh"
        raise InvalidParameter("viewport", f"is not {form}")
    columns, rows = (_whole("viewport", part, MOST_PIXELS) for part in parts[:_SIZE])
    region = [_number("viewport", part) if part else None for part in parts[_SIZE:]]
    left, top, width, height = (*region, None, None, None, None)[: _REGION - _SIZE]
    if width == 0 or height == 0:
        raise InvalidParameter("viewport", "has a part of no size")
    return Viewport(columns, rows, left or 0.0, top or 0.0, width, height)


def _quality(text: str | None) -> int:
    return QUALITY if text is None else _whole("quality", text, 100)


def _annotations(text: str | None) -> tuple[Annotation, ...]:
    if text is None:
        return ()
    try:
        return tuple(sorted({Annotation(part.strip().lower()) for part in text.split(",")}))
    except ValueError:
        raise InvalidParameter("annotation", "has another word than patient, technique") from None


def _icc(text: str | None) -> IccProfile:
    try:
        return IccProfile(IccProfile.NO if text is None else text.strip().lower())
    except ValueError:
        names = ", ".join(IccProfile)
        raise InvalidParameter("iccprofile", f"is none of {names}") from None
