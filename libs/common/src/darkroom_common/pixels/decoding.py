"""The pixels of one frame as stored values (PS3.3 C.7.6.3; PS3.5 section 8.2 and annex A.4).

pydicom reads native and RLE frames; imagecodecs, as its plugin, those of the JPEG family.
"""

from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import Decoder, DecodeRunner, get_decoder

from darkroom_common.dicom.syntaxes import RLE
from darkroom_common.pixels import codecs
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.samples import Samples

_PLUGIN: Final = "imagecodecs"
_MAX_SAMPLES: Final = 1 << 28  # of one frame
_NATIVE_BITS: Final = (8, 16)
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_KEYWORDS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
DECODER_DEPENDENCIES: Final = dict.fromkeys(
    codecs.DECODABLE - {RLE, *codecs.JPEG_XL}, (_PLUGIN,)
)  # the name that pydicom wants of a plugin


def is_available(uid: str) -> bool:
    """Tell pydicom whether frames of a transfer syntax can be decoded."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """Return the samples of a frame, pixel by pixel: what pydicom asks of a plugin."""
    syntax, photometric = str(runner.transfer_syntax), str(runner.photometric_interpretation)
    samples, shape = runner.samples_per_pixel, (runner.rows, runner.columns)
    decoded = codecs.decoded(frame, syntax, samples, shape, photometric)
    values = np.ascontiguousarray(decoded)
    if values.shape != (shape if samples == 1 else (*shape, samples)):
        raise ValueError("a frame has another size than its object says")
    if values.dtype.kind not in "ui":
        raise ValueError("a frame does not hold whole numbers")
    if samples > 1:
        runner.set_option("planar_configuration", 0)
        if photometric in codecs.UNDONE:
            runner.set_option("photometric_interpretation", "RGB")
    runner.set_option("bits_allocated", 8 * values.dtype.itemsize)
    return values.tobytes()


def _decoder(syntax: str) -> tuple[Decoder, str]:
    decoder = get_decoder(syntax)
    if syntax not in DECODER_DEPENDENCIES:
        return decoder, "pydicom" if decoder.is_encapsulated else ""
    if _PLUGIN not in decoder.available_plugins:
        decoder.add_plugin(_PLUGIN, (__name__, "decode_frame"))
    return decoder, _PLUGIN


def stored_values(dataset: Dataset, frame: int) -> tuple[Samples, str]:
    """Return a frame, and the photometric interpretation of what is returned.

    Args:
        dataset: with its file meta information.
        frame: from 1.

    Returns:
        (rows, columns) or (rows, columns, 3), of the type that Bits Allocated and Pixel
        Representation say, unused bits cleared; YBR_FULL and YBR_FULL_422 made RGB.

    Raises:
        Unrenderable: there are no such pixels, or they are not what the object says.
    """
    _check(dataset, frame)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if syntax in codecs.JPEG_XL:
        return _of_jpeg_xl(dataset, frame, syntax)
    try:
        decoder, plugin = _decoder(syntax)
    except (NotImplementedError, ValueError) as error:
        raise Unrenderable("its transfer syntax cannot be decoded") from error
    try:
        values, told = decoder.as_array(dataset, index=frame - 1, raw=False, decoding_plugin=plugin)
    except MemoryError:
        raise
    except Exception as error:  # whatever pydicom and the codecs raise for a hostile frame
        raise Unrenderable("its pixels cannot be decoded") from error
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native, str(told["photometric_interpretation"])


def native_grey(frame: bytes, dataset: Dataset) -> tuple[Samples, str] | None:
    """Return what `stored_values` would of a frame as it is stored, little endian, in a twentieth.

    None: it is not of whole octets and one sample a pixel, or not what its object says.
    """
    allocated, photometric = dataset.get("BitsAllocated"), dataset.get("PhotometricInterpretation")
    stored, signed = dataset.get("BitsStored"), dataset.get("PixelRepresentation")
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if allocated not in _NATIVE_BITS or photometric not in _GREY or signed not in (0, 1):
        return None
    if not isinstance(stored, int) or not 1 <= stored <= allocated:
        return None
    if dataset.get("SamplesPerPixel") != 1 or not (rows and columns):
        return None
    if len(frame) != rows * columns * allocated // 8:
        return None
    return grey_values(frame, (rows, columns), allocated, stored, signed=bool(signed)), photometric


def grey_values(
    frame: bytes, shape: tuple[int, int], allocated: int, stored: int, signed: bool
) -> Samples:
    """Return a frame of whole octets, little endian, with its unused bits cleared.

    Args:
        frame: its bytes, as many as there have to be.
        shape: rows and columns.
        allocated: bits of a value, 8 or 16.
        stored: bits that count.
        signed: whether values may be below 0.
    """
    kind = np.dtype(f"<{'ui'[signed]}{allocated // 8}")
    values: Samples = np.frombuffer(frame, kind).reshape(shape)
    if unused := allocated - stored:
        least = -(1 << stored - 1) if signed else 0
        # To look whether there are such bits takes a fifth of the time of clearing them.
        if values.min() < least or values.max() >= least + (1 << stored):
            values = (values << unused) >> unused
    return values


def _of_jpeg_xl(dataset: Dataset, frame: int, syntax: str) -> tuple[Samples, str]:
    """Return a frame of JPEG XL, for which pydicom has no decoder; its colours become RGB."""
    try:
        pixels = codecs.Pixels.of(dataset)
        body = get_frame(dataset.PixelData, frame - 1, number_of_frames=pixels.frames)
        values = codecs.decode_frame(body, syntax, pixels)
        told = codecs.decoded_pixels(pixels, syntax)
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise Unrenderable("its pixels cannot be decoded") from error
    signed = values.view(f"<i{values.dtype.itemsize}") if pixels.signed else values
    return signed.astype(signed.dtype.newbyteorder("="), copy=False), told.photometric


def _check(dataset: Dataset, frame: int) -> None:
    if not any(keyword in dataset for keyword in _KEYWORDS):
        raise Unrenderable("it has no pixels")
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        samples = int(dataset.get("SamplesPerPixel") or 1)
        frames = int(dataset.get("NumberOfFrames") or 1)
    except (AttributeError, TypeError, ValueError) as error:
        raise Unrenderable("its description of the pixels is not whole") from error
    if min(rows, columns, frames) < 1 or samples not in (1, 3):
        raise Unrenderable("its description of the pixels makes no sense")
    if rows * columns * samples > _MAX_SAMPLES:
        raise Unrenderable("it is too large to be shown")
    if not 1 <= frame <= frames:
        raise Unrenderable(f"it has {frames} frames, not one of number {frame}")
