"""The pixels of one frame as stored values (PS3.3 C.7.6.3; PS3.5 section 8.2 and annex A.4).

pydicom reads native and RLE frames; imagecodecs, as its plugin, those of the JPEG family.
"""

from typing import Any, Final

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import Decoder, DecodeRunner, get_decoder

from darkroom_print.composing.bitmap import Pixels
from darkroom_print.composing.exchange import Unrenderable

_4: Final = "1.2.840.10008.1.2.4."
_JPEG: Final = frozenset({f"{_4}50", f"{_4}51", f"{_4}57", f"{_4}70"})
_JPEG_LS: Final = frozenset({f"{_4}80", f"{_4}81"})
_JPEG_2000: Final = frozenset({f"{_4}90", f"{_4}91"})
_HTJ2K: Final = frozenset({f"{_4}201", f"{_4}202", f"{_4}203"})
_PLUGIN: Final = "imagecodecs"
_MAX_SAMPLES: Final = 1 << 28  # of one frame
_KEYWORDS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
DECODER_DEPENDENCIES: Final = dict.fromkeys(
    (*_JPEG, *_JPEG_LS, *_JPEG_2000, *_HTJ2K), (_PLUGIN,)
)  # the name that pydicom wants of a plugin


def is_available(uid: str) -> bool:
    """Tell pydicom whether frames of a transfer syntax can be decoded."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """Return the samples of a frame, pixel by pixel: what pydicom asks of a plugin."""
    values = np.ascontiguousarray(_decoded(frame, runner))
    samples = runner.samples_per_pixel
    shape = (runner.rows, runner.columns)
    if values.shape != (shape if samples == 1 else (*shape, samples)):
        raise ValueError("a frame has another size than its object says")
    if values.dtype.kind not in "ui":
        raise ValueError("a frame does not hold whole numbers")
    if samples > 1:
        runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", 8 * values.dtype.itemsize)
    return values.tobytes()


def _decoded(frame: bytes, runner: DecodeRunner) -> Pixels:
    syntax, samples = str(runner.transfer_syntax), runner.samples_per_pixel
    found: Any
    if syntax in _JPEG:
        # Named, so that the decoder converts no colours on a guess.
        coded = str(runner.photometric_interpretation).startswith("YBR")
        space = None if samples == 1 else ("YCBCR" if coded else "RGB")
        found = imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space)
    elif syntax in _JPEG_LS:
        found = imagecodecs.jpegls_decode(frame)
        if samples > 1 and found.shape == (samples, runner.rows, runner.columns):
            found = found.transpose(1, 2, 0)
    elif syntax in _JPEG_2000 or syntax in _HTJ2K:
        if syntax in _JPEG_2000:
            found = imagecodecs.jpeg2k_decode(frame, numthreads=1)
        else:
            found = imagecodecs.htj2k_decode(frame)
        if samples > 1 and runner.photometric_interpretation in ("YBR_RCT", "YBR_ICT"):
            runner.set_option("photometric_interpretation", "RGB")  # the decoder undid it
    else:
        raise ValueError("no such transfer syntax")
    return np.asarray(found)


def _decoder(syntax: str) -> tuple[Decoder, str]:
    decoder = get_decoder(syntax)
    if syntax not in DECODER_DEPENDENCIES:
        return decoder, "pydicom" if decoder.is_encapsulated else ""
    if _PLUGIN not in decoder.available_plugins:
        decoder.add_plugin(_PLUGIN, (__name__, "decode_frame"))
    return decoder, _PLUGIN


def stored_values(dataset: Dataset, frame: int) -> tuple[Pixels, str]:
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
        raise Unrenderable("it is too large to be printed")
    if not 1 <= frame <= frames:
        raise Unrenderable(f"it has {frames} frames, not one of number {frame}")
