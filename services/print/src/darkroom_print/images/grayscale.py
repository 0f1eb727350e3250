"""From stored values to displayed ones: modality LUT, VOI LUT, polarity (PS3.3 C.11.1, C.11.2)."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from darkroom_print.composing.bitmap import OCTET, Pixels
from darkroom_print.composing.exchange import Unrenderable
from darkroom_print.images.frame import FrameHeader
from darkroom_print.images.lookup import Values, read_table
from darkroom_print.images.picture import InvalidWindow, VoiFunction, Window

Shown = npt.NDArray[np.float32]
_TABLE_BITS: Final = 16
_STEEPNESS: Final = -4.0
_Step = Callable[[Values], Values]


def displayed(stored: Pixels, header: FrameHeader, window: Window | None = None) -> Shown:
    """Return a greyscale frame as it is to be seen: 0 black, 1 white, before a Presentation LUT.

    What is applied is `window`, else the first VOI LUT, else the first window of the header; else
    8 bits and fewer as they are, more bits from the least to the greatest value. Pixel padding is
    black, and not in that range.

    Args:
        stored: (rows, columns), whole or floating-point numbers.
        header: of the frame.
        window: asked for by the user.

    Raises:
        Unrenderable: the header makes no sense.
    """
    padding = _padding(header)
    if stored.dtype.kind not in "iu" or 8 * stored.dtype.itemsize > _TABLE_BITS:
        return _render(stored.astype(np.float64), stored, header, window, padding)
    # At most 65536 different values: each is rendered once.
    info = np.iinfo(stored.dtype)
    every = np.arange(info.min, info.max + 1, dtype=np.float64)
    table = _render(every, stored, header, window, padding)
    if info.min < 0:
        table = np.roll(table, info.min)  # entry -1 is the last one
        stored = stored.view(f"u{stored.dtype.itemsize}")
    shown: Shown = table[stored]
    return shown


def _render(
    values: Values,
    stored: Pixels,
    header: FrameHeader,
    window: Window | None,
    padding: tuple[float, float] | None,
) -> Shown:
    modality = _modality(header)
    voi = _voi(stored, header, window, padding, modality)
    shown = voi(modality(values))
    inverse = header.word("PhotometricInterpretation") == "MONOCHROME1"
    if inverse or header.word("PresentationLUTShape") == "INVERSE":
        shown = 1.0 - shown
    if padding:
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


def _modality(header: FrameHeader) -> _Step:
    if tables := header.items("ModalityLUTSequence"):
        signed = header.get("PixelRepresentation") == 1
        return read_table(tables[0], signed=signed).apply
    slope = (header.numbers("RescaleSlope") or (1.0,))[0]
    intercept = (header.numbers("RescaleIntercept") or (0.0,))[0]
    return lambda values: values * slope + intercept


def _voi(
    stored: Pixels,
    header: FrameHeader,
    window: Window | None,
    padding: tuple[float, float] | None,
    modality: _Step,
) -> _Step:
    if window:
        return windowed(window)
    if tables := header.items("VOILUTSequence"):
        ends = modality(_ends(stored, padding))
        table = read_table(tables[0], signed=bool(ends.min() < 0))
        return lambda values: table.apply(values) / ((1 << table.bits) - 1)
    if found := _window(header):
        return windowed(found)
    bits = int(header.get("BitsStored") or 8 * stored.dtype.itemsize)
    if bits <= OCTET and stored.dtype.kind == "u":
        ends = modality(np.array([0.0, float((1 << bits) - 1)]))
    else:
        ends = modality(_ends(stored, padding))
    least, greatest = float(ends.min()), float(ends.max())
    if greatest <= least:
        return lambda values: np.where(values > 0, 1.0, 0.0)
    return lambda values: np.clip((values - least) / (greatest - least), 0.0, 1.0)


def _ends(stored: Pixels, padding: tuple[float, float] | None) -> Values:
    """Return the least and the greatest stored value of the image."""
    if padding or stored.dtype.kind == "f":
        kept: Any = np.isfinite(stored)
        if padding:
            kept &= (stored < padding[0]) | (stored > padding[1])
        image = stored[kept]
        if not image.size:
            return np.zeros(2)
        return np.array([image.min(), image.max()], np.float64)
    return np.array([stored.min(), stored.max()], np.float64)


def _window(header: FrameHeader) -> Window | None:
    centers, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    if not centers or not widths:
        return None
    word = header.word("VOILUTFunction") or VoiFunction.LINEAR
    try:
        return Window(centers[0], widths[0], VoiFunction(word))
    except (InvalidWindow, ValueError) as error:
        raise Unrenderable("its window makes no sense") from error


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
