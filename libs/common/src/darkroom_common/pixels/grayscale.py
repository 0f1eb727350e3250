"""From stored values to displayed ones: modality LUT, VOI LUT, polarity (PS3.3 C.11.1, C.11.2)."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self, overload

import numpy as np
import numpy.typing as npt

from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.lookup import Values, read_table
from darkroom_common.pixels.samples import OCTET, Samples
from darkroom_common.pixels.window import InvalidWindow, VoiFunction, Window

Shown = npt.NDArray[np.float32]
Octets = npt.NDArray[np.uint8]
WHITE: Final = 255
"""Of 8 bits."""
_TABLE_BITS: Final = 16
_STEEPNESS: Final = -4.0
_LEAST_CONTRAST: Final = 1 / 256
_BY_RANGE: Final = "it is shown from its least to its greatest value"
_Step = Callable[[Values], Values]


def as_shown(shown: Shown) -> Shown:
    """Return what is shown, 0 to 1."""
    return shown


def octets_of(shown: Shown) -> Octets:
    """Return what is shown in 8 bits, 0 to `WHITE`."""
    octets: Octets = np.rint(shown * np.float32(WHITE)).astype(np.uint8)
    return octets


@overload
def displayed(stored: Samples, header: FrameHeader, window: Window | None = None) -> Shown: ...


@overload
def displayed(
    stored: Samples, header: FrameHeader, window: Window | None, made: Callable[[Shown], Octets]
) -> Octets: ...


def displayed(
    stored: Samples,
    header: FrameHeader,
    window: Window | None = None,
    made: Callable[[Shown], Shown | Octets] = as_shown,
) -> Shown | Octets:
    """Return a greyscale frame as it is to be seen: 0 black, 1 white, before a Presentation LUT.

    What is applied is `window`, else the first VOI LUT, else the first window of the header; else
    8 bits and fewer as they are, more bits from the least to the greatest value. Pixel
    padding is black, and not in that range. What of it makes no sense is told as a warning of the
    header, and the range is shown instead.

    Args:
        stored: (rows, columns), whole or floating-point numbers.
        header: of the frame.
        window: asked for by the user.
        made: makes of what is shown what is returned, value by value.
    """
    padding = _padding(header)
    if stored.dtype.kind not in "iu" or 8 * stored.dtype.itemsize > _TABLE_BITS:
        given = _Given(stored, padding, _ends(stored, padding))
        return made(_render(stored.astype(np.float64), given, header, window))
    # At most 65536 different values: each that occurs is rendered once.
    least, greatest = int(stored.min()), int(stored.max())
    given = _Given(stored, padding, _whole_ends(stored, padding, least, greatest))
    every = np.arange(least, greatest + 1, dtype=np.float64)
    table = made(_render(every, given, header, window))
    # In a tenth of the time of table[stored - least]; what is looked up is there.
    places = stored.astype(np.intp)
    places -= least
    return table.take(places, mode="clip")


def in_units(stored: Samples, header: FrameHeader) -> Values:
    """Return values in units of the modality; as they are stored where those are not known."""
    return (_modality(header) or _as_stored)(stored.astype(np.float64))


@dataclass(frozen=True)
class _Given:
    """Stored values of an image.

    Attributes:
        stored: all of them.
        padding: the range of those that are no image.
        ends: the least and the greatest that there are, padding aside.
    """

    stored: Samples
    padding: tuple[float, float] | None
    ends: tuple[float, float]


def _render(values: Values, given: _Given, header: FrameHeader, window: Window | None) -> Shown:
    modality = _modality(header)
    seen = _Seen.of(given, header, modality)
    if not np.isfinite(seen.possible).all():
        header.warn(f"its rescale slope and intercept make no sense: {_BY_RANGE}")
        modality = None
    if modality is None:
        modality, seen = _as_stored, _Seen.of(given, header, None)
    voi = _voi(header, window, seen)
    shown = voi(modality(values))
    inverse = header.word("PhotometricInterpretation") == "MONOCHROME1"
    if inverse or header.word("PresentationLUTShape") == "INVERSE":
        shown = 1.0 - shown
    if padding := given.padding:
        shown = np.where((values >= padding[0]) & (values <= padding[1]), 0.0, shown)
    return np.nan_to_num(shown, nan=0.0).astype(np.float32)


def _padding(header: FrameHeader) -> tuple[float, float] | None:
    """Return the range of stored values that are no image (C.7.5.1.1.2)."""
    value = header.numbers("PixelPaddingValue")
    if not value:
        return None
    limit = header.numbers("PixelPaddingRangeLimit") or value
    ends = [value[0], limit[0]]
    if header.get("PixelRepresentation") == 1:
        ends = [end - (1 << 16) if end >= 1 << 15 else end for end in ends]
    return (min(ends), max(ends))


def _as_stored(values: Values) -> Values:
    return values


def _modality(header: FrameHeader) -> _Step | None:
    """Return the modality LUT (C.11.1); None when what stands there is none."""
    if tables := header.items("ModalityLUTSequence"):
        signed = header.get("PixelRepresentation") == 1
        try:
            return read_table(tables[0], signed=signed).apply
        except Unrenderable as error:
            header.warn(f"{error}: {_BY_RANGE}")
            return None
    slopes, intercepts = header.decimals("RescaleSlope"), header.decimals("RescaleIntercept")
    slope, intercept = (slopes or [1.0])[0], (intercepts or [0.0])[0]
    if not slope or intercept is None:
        header.warn(f"its rescale slope and intercept make no sense: {_BY_RANGE}")
        return None
    return lambda values: values * slope + intercept


@dataclass(frozen=True)
class _Seen:
    """What values an image has: in units of the modality, if they are known.

    Attributes:
        ends: the least and the greatest that there are, padding aside.
        full: what is shown from black to white without a window.
        possible: of its kind of pixels.
        in_units: whether windows and VOI LUTs of the header are of any use.
    """

    ends: Values
    full: Values
    possible: Values
    in_units: bool

    @classmethod
    def of(cls, given: _Given, header: FrameHeader, modality: _Step | None) -> Self:
        """Look at an image."""
        step, stored = modality or _as_stored, given.stored
        least, greatest = given.ends
        full = possible = (least, greatest)
        if stored.dtype.kind in "iu":
            info = np.iinfo(stored.dtype)
            possible = (float(info.min), float(info.max))
            bits = int(header.get("BitsStored") or 8 * stored.dtype.itemsize)
            if bits <= OCTET and stored.dtype.kind == "u":
                full = (0.0, float((1 << bits) - 1))
        with np.errstate(over="ignore", invalid="ignore"):
            seen, shown, all_of_it = (
                step(np.array(pair)) for pair in ((least, greatest), full, possible)
            )
        return cls(seen, shown, all_of_it, in_units=modality is not None)


def _voi(header: FrameHeader, window: Window | None, seen: _Seen) -> _Step:
    """Return the VOI LUT (C.11.2): the user's window, the header's LUT or window, or the range."""
    if seen.ends[0] == seen.ends[1]:
        header.warn("all of its pixels have one value")
    chosen = windowed(window) if window else None
    if chosen is None and seen.in_units:
        chosen = _table(header, seen.ends) or _window(header, seen)
    if chosen is not None:
        if not _tells(chosen, seen.ends):
            header.warn("its window shows nothing of it")
        return chosen
    least, greatest = float(seen.full.min()), float(seen.full.max())
    if greatest <= least:
        return lambda values: np.where(values > 0, 1.0, 0.0)
    return lambda values: np.clip((values - least) / (greatest - least), 0.0, 1.0)


def _table(header: FrameHeader, ends: Values) -> _Step | None:
    tables = header.items("VOILUTSequence")
    if not tables:
        return None
    try:
        table = read_table(tables[0], signed=bool(ends.min() < 0))
    except Unrenderable as error:
        header.warn(f"{error}: it is shown without")
        return None
    return lambda values: table.apply(values) / ((1 << table.bits) - 1)


def _ends(stored: Samples, padding: tuple[float, float] | None) -> tuple[float, float]:
    """Return the least and the greatest stored value of the image."""
    if padding or stored.dtype.kind == "f":
        kept: Any = np.isfinite(stored)
        if padding:
            kept &= (stored < padding[0]) | (stored > padding[1])
        image = stored[kept]
        if not image.size:
            return (0.0, 0.0)
        return (float(image.min()), float(image.max()))
    return (float(stored.min()), float(stored.max()))


def _whole_ends(
    stored: Samples, padding: tuple[float, float] | None, least: int, greatest: int
) -> tuple[float, float]:
    """Return what `_ends` does for whole numbers, whose least and greatest are known."""
    first, last = padding or (math.inf, math.inf)
    is_least, is_greatest = first <= least <= last, first <= greatest <= last
    if is_least and is_greatest:
        return (0.0, 0.0)
    if is_least:
        least = int(np.where(stored > math.floor(last), stored, greatest).min())
    elif is_greatest:
        greatest = int(np.where(stored < math.ceil(first), stored, least).max())
    return (float(least), float(greatest))


def _window(header: FrameHeader, seen: _Seen) -> _Step | None:
    """Return the first window of the header; None when there is none, or it is none."""
    centers, widths = header.decimals("WindowCenter"), header.decimals("WindowWidth")
    if not centers and not widths:
        return None
    function = _function(header)
    made = _made(centers[0], widths[0], function) if len(centers) == len(widths) else None
    if made is None or not _tells(windowed(made), seen.possible):
        header.warn(f"its window makes no sense: {_BY_RANGE}")
        return None
    if made.function is not function:
        header.warn("its window is too narrow to be linear: it is taken as an exact one")
    return windowed(made)


def _function(header: FrameHeader) -> VoiFunction:
    word = header.word("VOILUTFunction") or VoiFunction.LINEAR
    try:
        return VoiFunction(word)
    except ValueError:
        header.warn("its VOI LUT function is not known: it is taken as linear")
        return VoiFunction.LINEAR


def _made(center: float | None, width: float | None, function: VoiFunction) -> Window | None:
    if center is None or width is None:
        return None
    for one in (function, VoiFunction.LINEAR_EXACT):
        with suppress(InvalidWindow):
            return Window(center, width, one)
    return None


def _tells(step: _Step, ends: Values) -> bool:
    """Tell whether values between two are told apart; those of a constant image never are."""
    with np.errstate(all="ignore"):
        shades = step(ends)
    return bool(ends[0] == ends[-1] or abs(shades[-1] - shades[0]) >= _LEAST_CONTRAST)


def windowed(window: Window) -> _Step:
    """Return what a window does to the values of the modality LUT (C.11.2.1.2, C.11.2.1.3)."""
    center, width = window.center, window.width
    match window.function:
        case VoiFunction.SIGMOID:
            return lambda values: (
                1.0 / (1.0 + np.exp(np.clip(_STEEPNESS * (values - center) / width, -700.0, 700.0)))
            )
        case VoiFunction.LINEAR_EXACT:
            return lambda values: np.clip((values - center) / width + 0.5, 0.0, 1.0)
        case VoiFunction.LINEAR if width > 1:
            return lambda values: np.clip((values - center + 0.5) / (width - 1) + 0.5, 0.0, 1.0)
        case VoiFunction.LINEAR:
            return lambda values: np.where(values <= center - 0.5, 0.0, 1.0)
