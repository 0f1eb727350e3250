"""One frame as it is to be seen."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from darkroom_common.dicom.charset import Assumed, TextReader
from darkroom_common.dicom.stored import Found
from darkroom_common.dicom.text_elements import decode_text
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.grayscale import WHITE, Octets, displayed, octets_of
from darkroom_common.pixels.overlay import overlay_mask
from darkroom_common.pixels.plain import Plain
from darkroom_common.pixels.samples import Samples, is_colour
from darkroom_common.pixels.window import Window

_TABLES: Final = frozenset(
    {"LUTData", *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))}
)
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_LARGE: Final = 1 << 40
_MAX_ASPECT: Final = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A frame, ready to be scaled.

    Attributes:
        pixels: (rows, columns) or (rows, columns, 3), float32, 0 black and 1 white.
        spacing: millimetres between rows and between columns; None when it is not known.
        detector: whether the spacing is that of the detector, not of the patient.
        aspect: height of a pixel by its width.
        warnings: what of its header could not be followed; no text holds a value.
    """

    pixels: npt.NDArray[np.float32]
    spacing: tuple[float, float] | None
    detector: bool
    aspect: float
    warnings: tuple[str, ...] = ()


def prepared(found: Found, assumed: Assumed) -> Dataset:
    """Return a data set with its text decoded and its tables little endian.

    Args:
        found: that was read.
        assumed: of the text of its sender.

    Raises:
        Unrenderable: it could not be read to its end.
    """
    decode_text(found.data_set, TextReader(assumed))
    if found.data_set.original_encoding[1] is False:
        _swap_tables(found.data_set)
    if found.broken:
        raise Unrenderable("it cannot be read to its end")
    return found.data_set


def _swap_tables(dataset: Dataset) -> None:
    """Make the words of big-endian tables little endian, as all that read them take them to be."""
    for element in dataset.iterall():
        if element.VR == "OW" and element.keyword in _TABLES:
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()


def render(
    values: tuple[Samples, str],
    dataset: Dataset,
    frame: int,
    window: Window | None = None,
    *,
    overlays: bool = True,
) -> Image:
    """Return a frame as its header, or the user's window, wants it seen.

    Args:
        values: of the frame, and their photometric interpretation: see `stored_values`.
        dataset: of the object.
        frame: from 1.
        window: asked for by the user.
        overlays: whether they are drawn.

    Raises:
        Unrenderable: it cannot be shown.
    """
    header = FrameHeader(dataset, frame)
    if values[1] in _GREY:
        pixels = displayed(values[0], header, window)
    else:
        pixels = _coloured(values, dataset)
    if overlays:
        mask = overlay_mask(dataset, frame, pixels.shape[:2])
        if mask is not None:
            pixels[mask] = 1.0
    spacing, detector = _spacing(header)
    aspect = _aspect(header, spacing)
    return Image(pixels, spacing, detector, aspect, tuple(header.warnings))


def render_octets(
    values: tuple[Samples, str], dataset: Dataset, frame: int, window: Window | None = None
) -> Octets:
    """Return the pixels of `render` in 8 bits, in half the time where it need not be scaled.

    Raises:
        Unrenderable: it cannot be shown.
    """
    header = FrameHeader(dataset, frame)
    if values[1] in _GREY:
        pixels = displayed(values[0], header, window, octets_of)
    else:
        pixels = octets_of(_coloured(values, dataset))
    mask = overlay_mask(dataset, frame, pixels.shape[:2])
    if mask is not None:
        pixels[mask] = WHITE
    _aspect(header, _spacing(header)[0])
    return pixels


def render_plain(plain: Plain, number: int, window: Window | None = None) -> Octets | None:
    """Return the pixels of `render_octets` of a plain image, in a fraction of the time.

    Args:
        plain: the image.
        number: of the frame, from 0.
        window: asked for by the user.

    Returns:
        None: the frame is not whole.

    Raises:
        Unrenderable: it cannot be shown.
    """
    values = plain.values(number)
    if values is None:
        return None
    _aspect(plain.header, _spacing(plain.header)[0])
    return displayed(values, plain.header, window, octets_of)


def _coloured(values: tuple[Samples, str], dataset: Dataset) -> npt.NDArray[np.float32]:
    stored, photometric = values
    if photometric == "PALETTE COLOR":
        return colours_of(stored, dataset)
    if photometric == "RGB" and is_colour(stored):
        bits = int(dataset.get("BitsStored") or 8 * stored.dtype.itemsize)
        return _scaled(stored, (1 << bits) - 1)
    raise Unrenderable("its photometric interpretation cannot be shown")


def colours_of(stored: Samples, dataset: Dataset) -> npt.NDArray[np.float32]:
    """Look values up in the palette of a dataset (PS3.3 C.7.9).

    Returns:
        (rows, columns, 3), from 0 to 1.

    Raises:
        Unrenderable: the palette is not whole.
    """
    try:
        colours = apply_color_lut(stored, dataset)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Unrenderable("its palette is not whole") from error
    return _scaled(colours, np.iinfo(colours.dtype).max)


def _scaled(values: Samples, white: int) -> npt.NDArray[np.float32]:
    scaled: npt.NDArray[np.float32] = values.astype(np.float32)
    scaled /= np.float32(white)
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def _spacing(header: FrameHeader) -> tuple[tuple[float, float] | None, bool]:
    """Return the spacing of rows and of columns, and whether it is the detector's (10.7.1.3)."""
    if pair := _pair(header, "PixelSpacing"):
        return pair, False
    if pair := _pair(header, "ImagerPixelSpacing"):
        factor = header.numbers("EstimatedRadiographicMagnificationFactor")
        if factor and factor[0] > 0:
            return (pair[0] / factor[0], pair[1] / factor[0]), False
        return pair, True
    return _pair(header, "NominalScannedPixelSpacing"), False


def _pair(header: FrameHeader, keyword: str) -> tuple[float, float] | None:
    values = header.numbers(keyword)
    match values:
        case [first, second] if 0 < first < _LARGE and 0 < second < _LARGE:
            return (first, second)
    return None


def _aspect(header: FrameHeader, spacing: tuple[float, float] | None) -> float:
    pair = spacing or _pair(header, "PixelAspectRatio") or (1.0, 1.0)
    aspect = pair[0] / pair[1]
    if not 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT:
        raise Unrenderable("its pixel aspect ratio makes no sense")
    return aspect
