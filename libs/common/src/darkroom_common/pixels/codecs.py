"""One frame of pixels, to and from its compressed form (PS3.5 section 8.2 and annex A.4).

A frame is an array of (rows, columns) or (rows, columns, samples) of unsigned containers of
BitsAllocated bits, as native pixel data holds them.
"""

import struct
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from darkroom_common.dicom import syntaxes
from darkroom_common.dicom.syntaxes import RLE
from darkroom_common.pixels.faults import Unconvertible

Frame = npt.NDArray[Any]

_4 = "1.2.840.10008.1.2.4."
JPEG_2000_LOSSLESS: Final = syntaxes.JPEG_2000_LOSSLESS
JPEG_LOSSLESS_SV1: Final = syntaxes.JPEG_LOSSLESS_SV1
JPEG_BASELINE: Final = f"{_4}50"
JPEG_LS_LOSSLESS: Final = syntaxes.JPEG_LS_LOSSLESS
HTJ2K_LOSSLESS: Final = syntaxes.HTJ2K_LOSSLESS
ALWAYS_LOSSY: Final = frozenset({f"{_4}50", f"{_4}51"})
JPEG_XL: Final = frozenset({f"{_4}110", f"{_4}111", f"{_4}112"})
PERHAPS_LOSSY: Final = frozenset(
    {*ALWAYS_LOSSY, f"{_4}81", f"{_4}91", f"{_4}111", f"{_4}112", f"{_4}203"}
)
"""Syntaxes that can hold lossy frames: what comes in them is never compressed again."""
_JPEG: Final = frozenset({f"{_4}50", f"{_4}51", f"{_4}57", JPEG_LOSSLESS_SV1})
_JPEG_LS: Final = frozenset({f"{_4}80", f"{_4}81"})
_JPEG_2000: Final = frozenset({JPEG_2000_LOSSLESS, f"{_4}91"})
_HTJ2K: Final = frozenset({f"{_4}201", f"{_4}202", f"{_4}203"})
DECODABLE: Final = frozenset({RLE, *_JPEG, *_JPEG_LS, *_JPEG_2000, *_HTJ2K, *JPEG_XL})
ENCODABLE: Final = syntaxes.ENCODABLE
"""What can be made without loss."""
UNDONE: Final = frozenset({"YBR_RCT", "YBR_ICT"})
"""Colours that a code stream tells of itself: its decoder makes them RGB (PS3.5 8.2.4)."""
_MAX_FRAME: Final = 1 << 30  # bytes
_COLOURS: Final = 3
_OCTET: Final = 8  # bits
_MAX_BITS: Final = 64
_START_OF_SCAN: Final = b"\xff\xda"
_SEGMENTS: Final = 15
_RLE_HEADER: Final = 64  # bytes
_OF_BASELINE: Final = {"MONOCHROME1": None, "MONOCHROME2": None, "RGB": "RGB", "YBR_FULL": "YCBCR"}
"""What can be compressed by JPEG baseline, and the encoder's name of its colours."""


@dataclass(frozen=True)
class Pixels:
    """The image pixel module, PS3.3 C.7.6.3, as far as frames depend on it."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int
    frames: int

    @classmethod
    def of(cls, dataset: Dataset) -> "Pixels":
        """Read the module.

        Raises:
            Unconvertible: something is missing or makes no sense.
        """
        try:
            allocated = int(dataset.BitsAllocated)
            stored = int(dataset.get("BitsStored") or allocated)
            high = dataset.get("HighBit")
            found = cls(
                rows=int(dataset.Rows),
                columns=int(dataset.Columns),
                samples=int(dataset.get("SamplesPerPixel") or 1),
                bits_allocated=allocated,
                bits_stored=stored,
                high_bit=stored - 1 if high is None else int(high),
                signed=bool(int(dataset.get("PixelRepresentation") or 0)),
                photometric=str(dataset.get("PhotometricInterpretation") or ""),
                planar=int(dataset.get("PlanarConfiguration") or 0),
                frames=int(dataset.get("NumberOfFrames") or 1),
            )
        except (AttributeError, ValueError, TypeError) as error:
            raise Unconvertible("its description of the pixels is not whole") from error
        sane = (
            found.rows > 0
            and found.columns > 0
            and found.frames > 0
            and found.samples in (1, _COLOURS, _COLOURS + 1)
            and 0 < found.bits_stored <= found.bits_allocated <= _MAX_BITS
            and found.frame_bytes <= _MAX_FRAME
        )
        if not sane:
            raise Unconvertible("its description of the pixels makes no sense")
        return found

    @property
    def subsampled(self) -> bool:
        """Whether native frames hold fewer chrominance samples than pixels."""
        return self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one native frame that is not subsampled."""
        return (self.rows * self.columns * self.samples * self.bits_allocated + 7) // 8

    @property
    def container(self) -> np.dtype[Any]:
        """The type of one sample, unsigned and little endian."""
        if self.bits_allocated not in (8, 16, 32):
            raise Unconvertible(f"samples of {self.bits_allocated} bits cannot be converted")
        return np.dtype(f"<u{self.bits_allocated // 8}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a frame's array."""
        plain = (self.rows, self.columns)
        return plain if self.samples == 1 else (*plain, self.samples)


def extended(frame: Frame, pixels: Pixels) -> Frame:
    """Return the values of the stored bits, sign or zero extended to the container."""
    mask = (1 << pixels.bits_stored) - 1
    values = frame.astype(np.int64) & mask
    if pixels.signed:
        sign = 1 << (pixels.bits_stored - 1)
        values = (values ^ sign) - sign
    return (values & ((1 << pixels.bits_allocated) - 1)).astype(pixels.container)


def compressible(pixels: Pixels) -> bool:
    """Whether frames of this kind can be compressed without loss by `encode_frame`."""
    return (
        pixels.bits_allocated in (8, 16)
        and pixels.bits_stored > 1
        and pixels.high_bit == pixels.bits_stored - 1
        and pixels.samples in (1, _COLOURS)
        and not pixels.subsampled
    )


def native_frame(data: memoryview | bytes, pixels: Pixels) -> Frame:
    """Return a native frame as an array."""
    flat = np.frombuffer(data, pixels.container)
    if pixels.samples > 1 and pixels.planar == 1:
        planes = flat.reshape((pixels.samples, pixels.rows, pixels.columns))
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    return flat.reshape(pixels.shape)


def decoded_pixels(pixels: Pixels, syntax: str) -> Pixels:
    """Return what describes the frames that `decode_frame` gives."""
    photometric = pixels.photometric
    if photometric in UNDONE or (syntax in JPEG_XL and pixels.samples == _COLOURS):
        photometric = "RGB"  # the codestream says so and its decoder undoes it
    elif photometric == "YBR_FULL_422" and syntax != RLE:
        photometric = "YBR_FULL"  # chrominance comes out in full resolution
    elif pixels.subsampled:
        raise Unconvertible(f"{photometric} cannot be decoded")
    return replace(pixels, photometric=photometric, planar=0)


def decode_frame(data: bytes, syntax: str, pixels: Pixels) -> Frame:
    """Return a frame of a compressed syntax.

    Raises:
        Unconvertible: it cannot be decoded, or is not what `pixels` says.
    """
    try:
        if syntax == RLE:
            frame = _from_rle(data, pixels)
        else:
            size = (pixels.rows, pixels.columns)
            frame = np.asarray(decoded(data, syntax, pixels.samples, size, pixels.photometric))
    except (RuntimeError, ValueError, TypeError) as error:  # imagecodecs' errors are RuntimeErrors
        raise Unconvertible("a frame cannot be decoded") from error
    if frame.shape != pixels.shape:
        raise Unconvertible("a frame has another size than the object says")
    if frame.dtype.kind not in "ui":
        raise Unconvertible("a frame does not hold whole numbers")
    if pixels.signed and frame.dtype.kind == "u" and int(frame.max()) < 1 << pixels.bits_stored:
        return extended(frame, pixels)
    values = frame.astype(np.int64)
    return (values & ((1 << pixels.bits_allocated) - 1)).astype(pixels.container)


def decoded(
    data: bytes, syntax: str, samples: int, shape: tuple[int, int], photometric: str
) -> Any:
    """Return what a decoder makes of a frame, colours by pixel; YBR_RCT and YBR_ICT become RGB.

    Args:
        data: the code stream.
        syntax: one of `DECODABLE`, RLE apart.
        samples: of a pixel.
        shape: rows and columns.
        photometric: interpretation.

    Raises:
        RuntimeError, ValueError, TypeError: the decoder's, for a stream that is none.
    """
    if syntax in _JPEG:
        # Named, so that no colours are converted on a guess; what is known as YCbCr is upsampled.
        coded = photometric.startswith("YBR")
        space = None if samples == 1 else ("YCBCR" if coded else "RGB")
        return imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=space)
    if syntax in _JPEG_LS:
        frame = imagecodecs.jpegls_decode(data)
        planes = samples > 1 and frame.shape == (samples, *shape)
        if planes and (frame.shape != (*shape, samples) or _is_by_plane(data)):
            return frame.transpose(1, 2, 0)
        return frame
    if syntax in _JPEG_2000:
        return imagecodecs.jpeg2k_decode(data, numthreads=1)
    if syntax in JPEG_XL:
        return imagecodecs.jpegxl_decode(data, numthreads=1)
    if syntax in _HTJ2K:
        return imagecodecs.htj2k_decode(data)
    raise ValueError("its transfer syntax cannot be decoded")


def _is_by_plane(data: bytes) -> bool:
    """Tell whether the first scan of a JPEG-LS stream has one component (ISO 14495-1, C.2.3)."""
    scan = data.find(_START_OF_SCAN)
    return scan >= 0 and data[scan + 4 : scan + 5] == b"\x01"


def _from_rle(data: bytes, pixels: Pixels) -> Frame:
    planes = np.frombuffer(imagecodecs.dicomrle_decode(data, pixels.container), pixels.container)
    shape = (pixels.samples, pixels.rows, pixels.columns)
    return np.ascontiguousarray(planes.reshape(shape).transpose(1, 2, 0)).reshape(pixels.shape)


def encoded_pixels(pixels: Pixels, syntax: str) -> Pixels:
    """Return what describes the frames that `encode_frame` gives."""
    photometric = pixels.photometric
    if syntax in (JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS) and photometric == "RGB":
        photometric = "YBR_RCT"  # PS3.5 section 8.2.4
    return replace(pixels, photometric=photometric, planar=0)


def encode_frame(frame: Frame, syntax: str, pixels: Pixels) -> bytes:
    """Compress a frame without loss; only what is `compressible`.

    Raises:
        Unconvertible: the encoder refuses it, or what it made is not the same.
    """
    if not np.array_equal(extended(frame, pixels), frame):
        raise Unconvertible("bits beyond the stored ones are in use")
    try:
        data = _encode(frame, syntax, pixels)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Unconvertible("a frame cannot be compressed") from error
    if not np.array_equal(decode_frame(data, syntax, encoded_pixels(pixels, syntax)), frame):
        raise Unconvertible("a compressed frame is not the same")
    return data


def encode_baseline(frame: Frame, pixels: Pixels, quality: int) -> bytes:
    """Compress a frame by JPEG baseline, with loss; only one of 8 bits.

    Args:
        frame: of the samples.
        pixels: describe it.
        quality: 1 to 100.

    Raises:
        Unconvertible: it has other pixels, or the encoder refuses it.
    """
    fit = pixels.bits_allocated == pixels.bits_stored == _OCTET and not pixels.signed
    if not fit or pixels.photometric not in _OF_BASELINE:
        raise Unconvertible("pixels of this kind cannot be compressed by JPEG baseline")
    space = _OF_BASELINE[pixels.photometric]
    out = None if space is None else "YCBCR"
    try:
        return bytes(
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(frame), quality, colorspace=space, outcolorspace=out
            )
        )
    except (RuntimeError, ValueError, TypeError) as error:
        raise Unconvertible("a frame cannot be compressed") from error


def _rle(frame: Frame, pixels: Pixels) -> bytes:
    """Compress by RLE: a segment for each byte of each sample, high ones first (PS3.5 G)."""
    width = pixels.container.itemsize
    planes = frame.astype(pixels.container.newbyteorder(">"), copy=False)
    octets = np.ascontiguousarray(planes).view("u1").reshape((pixels.rows, pixels.columns, -1))
    segments = []
    for number in range(pixels.samples * width):
        plane = np.ascontiguousarray(octets[:, :, number])
        rows = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane)
        segments.append(rows + bytes(len(rows) % 2))
    if len(segments) > _SEGMENTS:
        raise Unconvertible("a pixel has more bytes than RLE has segments")
    ends = accumulate((len(one) for one in segments), initial=_RLE_HEADER)
    offsets = [*ends][: len(segments)]
    header = struct.pack(f"<{1 + len(offsets)}L", len(offsets), *offsets)
    return b"".join([header.ljust(_RLE_HEADER, b"\0"), *segments])


def _encode(frame: Frame, syntax: str, pixels: Pixels) -> bytes:
    bits = pixels.bits_stored
    if syntax == RLE:
        return _rle(frame, pixels)
    width = "u1" if bits <= _OCTET else "u2"
    masked = np.ascontiguousarray(frame & ((1 << bits) - 1), width)
    if syntax == JPEG_LS_LOSSLESS:
        return bytes(imagecodecs.jpegls_encode(masked))
    if syntax == JPEG_LOSSLESS_SV1:
        # RGB to RGB keeps it from converting colours, whatever they are: the object says that.
        space = None if pixels.samples == 1 else "RGB"
        return bytes(
            imagecodecs.jpeg8_encode(
                masked,
                lossless=True,
                predictor=1,
                bitspersample=bits,
                colorspace=space,
                outcolorspace=space,
            )
        )
    if pixels.signed:
        values = frame.view(f"<i{pixels.bits_allocated // 8}")
        masked = values.astype(width.replace("u", "i"))
    if syntax == HTJ2K_LOSSLESS:
        mixed = pixels.photometric == "RGB"
        return bytes(imagecodecs.htj2k_encode(masked, reversible=True, rgb=mixed))
    return bytes(
        imagecodecs.jpeg2k_encode(
            masked,
            level=0,
            codecformat="j2k",
            reversible=True,
            bitspersample=bits,
            mct=pixels.photometric == "RGB",
            numthreads=1,
        )
    )
