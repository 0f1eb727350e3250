"""The instances of a study that an object refers to, as the index has them."""

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from starlette.requests import Request

from darkroom_api.http.errors import invalid
from darkroom_api.http.parts import parts_of
from darkroom_api.objects.exchange import Reference
from darkroom_api.objects.spec import Given
from darkroom_common.index.rows import StoredInstance

_SAMPLES: Final = "00280002"
_SPACINGS: Final = ("00280030", "00181164", "00280034")
"""Pixel Spacing, Imager Pixel Spacing, Pixel Aspect Ratio: vertical before horizontal."""
_IN_MILLIMETRES: Final = _SPACINGS[:2]
_FINEST: Final = 1000
_SLOPE, _INTERCEPT, _TYPE, _TABLE = "00281053", "00281052", "00281054", "00283000"
_FUNCTIONAL_GROUPS: Final = ("52009229", "52009230")
_PIXEL_VALUES: Final = "00289145"


@dataclass(frozen=True)
class Pixels:
    """What a header tells of pixels.

    Attributes:
        samples: of a pixel; 0: it does not tell.
        aspect: how high one is, to how wide; square where it does not tell.
        spacing: millimetres from row to row and from column to column; empty: it does not tell.
        rescale: see `Reference`.
    """

    samples: int = 0
    aspect: tuple[int, int] = (1, 1)
    spacing: tuple[float, ...] = ()
    rescale: tuple[float, float, str] | None = (1.0, 0.0, "")


_UNKNOWN: Final = Pixels()


async def references_of(request: Request, given: Given, study: str) -> tuple[Reference, ...]:
    """Return the instances that are named, in their order.

    Raises:
        ApiError: 422, the study has no such instance.
    """
    reader = parts_of(request.scope).reader
    found: list[StoredInstance] = []
    for uid in given.instances():
        one = await reader.instance(uid)
        if one is None or one.study_instance_uid != study:
            raise invalid("body", "The study has no instance of a UID that is named.")
        found.append(one)
    pixels: dict[int, Pixels] = {}
    async for batch in reader.headers(found if given.NAMES_PIXELS else ()):
        pixels |= {one.id: pixels_of(header) for one, header in batch}
    return tuple(
        Reference(
            sop_class_uid=one.sop_class_uid,
            sop_instance_uid=one.sop_instance_uid,
            series_instance_uid=one.series_instance_uid,
            rows=one.rows or 0,
            columns=one.columns or 0,
            samples=pixels.get(one.id, _UNKNOWN).samples,
            aspect=pixels.get(one.id, _UNKNOWN).aspect,
            spacing=pixels.get(one.id, _UNKNOWN).spacing,
            frames=one.frames or 1,
            rescale=pixels.get(one.id, _UNKNOWN).rescale,
        )
        for one in found
    )


def pixels_of(header: bytes) -> Pixels:
    """Return what a header tells of pixels."""
    told = json.loads(header or b"{}")
    samples, rescale = int((_values(told, _SAMPLES)[:1] or [0])[0]), _rescale(told)
    for tag in _SPACINGS:
        high, wide = [*map(_number, _values(told, tag)), 0.0, 0.0][:2]
        if high > 0 and wide > 0:
            ratio = Fraction(high / wide).limit_denominator(_FINEST)
            if ratio > 0:
                spacing = (high, wide) if tag in _IN_MILLIMETRES else ()
                return Pixels(samples, (ratio.numerator, ratio.denominator), spacing, rescale)
    return Pixels(samples, rescale=rescale)


def _rescale(told: Any) -> tuple[float, float, str] | None:
    """Return what stored values mean, of all frames; see `Reference`."""
    groups = [item for tag in _FUNCTIONAL_GROUPS for item in _values(told, tag)]
    items = [item for group in groups for item in _values(group, _PIXEL_VALUES)]
    found = {
        (
            _number([*_values(item, _SLOPE), 1][0]) or 1.0,
            _number([*_values(item, _INTERCEPT), 0][0]),
            str([*_values(item, _TYPE), ""][0]),
        )
        for item in items or [told]
    }
    return found.pop() if len(found) == 1 and _TABLE not in told else None


def _values(told: Any, tag: str) -> list[Any]:
    match told.get(tag) if isinstance(told, dict) else None:
        case {"Value": [*values]}:
            return [one for one in values if one is not None]
    return []


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
