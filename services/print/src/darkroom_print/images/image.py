"""One frame as it is to be seen."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from darkroom_common.dicom.charset import TextReader
from darkroom_common.dicom.stored import stored_file
from darkroom_common.dicom.text_elements import decode_text
from darkroom_print.composing.bitmap import Pixels, is_colour
from darkroom_print.composing.exchange import Unrenderable
from darkroom_print.images.decoding import stored_values
from darkroom_print.images.frame import FrameHeader
from darkroom_print.images.grayscale import displayed
from darkroom_print.images.overlay import overlay_mask
from darkroom_print.images.picture import Picture

_TABLES: Final = frozenset(
    {"LUTData", *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))}
)
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


def read_dataset(picture: Picture) -> Dataset:
    """Return the data set of a picture's file.

    Raises:
        OSError: the file cannot be read.
        Unrenderable: it is no DICOM file.
    """
    try:
        with picture.path.open("rb") as file, stored_file(file) as (stored, _):
            found = stored.data_set()
        dataset = found.data_set
        decode_text(dataset, TextReader(picture.assumed))
        if stored.encoding.big:
            _swap_tables(dataset)
    except MemoryError:
        raise
    except Exception as error:  # whatever pydicom raises for a hostile file
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system; pydicom's own, for a file that is cut, have no number
        raise Unrenderable("it cannot be read") from error
    if found.broken:
        raise Unrenderable("it cannot be read to its end")
    return dataset


def _swap_tables(dataset: Dataset) -> None:
    """Make the words of big-endian tables little endian, as all that read them take them to be."""
    for element in dataset.iterall():
        if element.VR == "OW" and element.keyword in _TABLES:
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()


def render(dataset: Dataset, picture: Picture, *, overlays: bool = True) -> Image:
    """Return a frame as its header, or the user's window, wants it seen.

    Raises:
        Unrenderable: it cannot be shown.
    """
    stored, photometric = stored_values(dataset, picture.frame)
    header = FrameHeader(dataset, picture.frame)
    if photometric in ("MONOCHROME1", "MONOCHROME2"):
        pixels = displayed(stored, header, picture.window)
    elif photometric == "PALETTE COLOR":
        pixels = _palette(stored, dataset)
    elif photometric == "RGB" and is_colour(stored):
        bits = int(dataset.get("BitsStored") or 8 * stored.dtype.itemsize)
        pixels = _scaled(stored, (1 << bits) - 1)
    else:
        raise Unrenderable("its photometric interpretation cannot be shown")
    if overlays:
        mask = overlay_mask(dataset, picture.frame, pixels.shape[:2])
        if mask is not None:
            pixels[mask] = 1.0
    spacing, detector = _spacing(header)
    aspect = _aspect(header, spacing)
    return Image(pixels, spacing, detector, aspect, tuple(header.warnings))


def _palette(stored: Pixels, dataset: Dataset) -> npt.NDArray[np.float32]:
    """Look colours up (C.7.9)."""
    try:
        colours = apply_color_lut(stored, dataset)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Unrenderable("its palette is not whole") from error
    return _scaled(colours, np.iinfo(colours.dtype).max)


def _scaled(values: Pixels, white: int) -> npt.NDArray[np.float32]:
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
