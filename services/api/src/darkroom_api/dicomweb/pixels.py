"""Frames of an object as they are stored (PS3.5 section 8 and annex A). Runs in threads."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import UID

from darkroom_common.dicom.stored import PIXELS, StoredObject, stored_file
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.errors import PermanentError

_IS_DIGITS: Final = 10  # most of an IS without its sign
DEFER: Final = 65536
_OFFSETS: Final = (0x7FE00001, 0x7FE00002)
"""The extended offset table and its lengths (PS3.3 C.7.6.3.1.8)."""
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
OCTETS: Final = "application/octet-stream"
_FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "image/jpeg": ("50", "51", "57", "70"),
    "image/jls": ("80", "81"),
    "image/jp2": ("90", "91"),
    "image/jpx": ("92", "93"),
    "image/jphc": ("201", "202", "203"),
    "video/mpeg": ("100", "100.1", "101", "101.1"),
    "video/mp4": tuple(f"{n}{x}" for n in range(102, 109) for x in ("", ".1")),
}
MEDIA_TYPES: Final = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    **{f"1.2.840.10008.1.2.4.{n}": kind for kind, ns in _FAMILIES.items() for n in ns},
}
"""PS3.18 table 8.7.3-5: transfer syntax to the media type of one frame."""
MAX_FRAME: Final = 1 << 30
SWAPPED: Final = {16: 2, 32: 4, 64: 8}


class NoPixels(PermanentError):
    """The object has no frames, or none that can be told apart."""


class NoSuchFrame(PermanentError):
    """The object has fewer frames."""


@dataclass(frozen=True)
class PixelLayout:
    """Where the frames of an object are.

    Attributes:
        transfer_syntax: of the frames as they are handed out: native ones as little endian.
        stored_syntax: of the object.
        encapsulated: whether the frames are compressed.
        frames: how many.
        start: of the pixel data's value in the object, or in what it inflates to.
        frame_bits: of one native frame.
        swap: bytes of a sample to reverse, since the object is big endian; 0 for none.
        offsets: extended offset table, values and lengths, if there is one.
        inflated: whether the object is deflated.
    """

    transfer_syntax: str
    stored_syntax: str
    encapsulated: bool
    frames: int
    start: int
    frame_bits: int = 0
    swap: int = 0
    offsets: tuple[bytes, bytes] | None = None
    inflated: bool = False

    @property
    def media_type(self) -> str:
        """Return the media type of a compressed frame; octets when none is registered."""
        return MEDIA_TYPES.get(self.stored_syntax, OCTETS) if self.encapsulated else OCTETS


def read_layout(file: BinaryIO) -> PixelLayout:
    """Read everything before the pixel data.

    Raises:
        NoPixels: the object cannot be read, or has no pixel data that makes sense.
    """
    try:
        with stored_file(file) as (stored, _):
            return _layout(stored)
    except NoPixels:
        raise
    except (
        Unreadable,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        struct.error,
        EOFError,
        NotImplementedError,
        OverflowError,
    ) as error:
        raise NoPixels("the pixel data cannot be read") from error


def _layout(stored: StoredObject) -> PixelLayout:
    dataset = stored.data_set(defer=DEFER, stop_at=PIXELS).data_set
    syntax = UID(stored.transfer_syntax_uid)
    frames = int(dataset.get("NumberOfFrames") or 1)
    pixels: Any = next((dataset.get_item(t, keep_deferred=True) for t in PIXELS if t in dataset), 0)
    if not pixels:
        raise NoPixels("there is no pixel data")
    if syntax.is_encapsulated:
        table = tuple(_value(stored, dataset, tag) for tag in _OFFSETS)
        return PixelLayout(
            str(syntax),
            str(syntax),
            encapsulated=True,
            frames=frames,
            start=pixels.value_tell,
            offsets=(table[0], table[1]) if all(table) else None,
        )
    bits = _frame_bits(dataset)
    if pixels.length * 8 < bits * frames:
        raise NoPixels("the pixel data is shorter than its frames")
    return PixelLayout(
        EXPLICIT_LITTLE,
        str(syntax),
        encapsulated=False,
        frames=frames,
        start=pixels.value_tell,
        frame_bits=bits,
        swap=SWAPPED.get(int(dataset.BitsAllocated), 0) if stored.encoding.big else 0,
        inflated=stored.inflated,
    )


def _value(stored: StoredObject, dataset: Dataset, tag: int) -> bytes:
    element: Any = dataset.get_item(tag, keep_deferred=True)
    if element is None:
        return b""
    if element.value is None and element.length:
        return stored.read(element.value_tell, element.length)
    return element.value or b""


def _frame_bits(dataset: Dataset) -> int:
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    bits = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated)
    if not 0 < bits <= MAX_FRAME * 8:
        raise NoPixels("the size of a frame makes no sense")
    return bits


def read_frame(file: BinaryIO, layout: PixelLayout, index: int) -> bytes:
    """Return one frame, counted from 0.

    Raises:
        NoSuchFrame: there are fewer.
        NoPixels: the fragments cannot be read.
    """
    if not 0 <= index < layout.frames:
        raise NoSuchFrame("there is no such frame")
    if layout.encapsulated:
        return _compressed_frame(file, layout, index)
    first = layout.frame_bits * index
    last = first + layout.frame_bits
    start, end = first // 8, (last + 7) // 8
    if layout.inflated:
        with stored_file(file) as (stored, _):
            data = stored.read(layout.start + start, end - start)
    else:
        file.seek(layout.start + start)
        data = file.read(end - start)
    if len(data) != end - start:
        raise NoPixels("the pixel data is cut")
    if layout.frame_bits % 8:  # frames of single bits follow each other without padding
        number = (int.from_bytes(data, "little") >> (first % 8)) & ((1 << layout.frame_bits) - 1)
        return number.to_bytes((layout.frame_bits + 7) // 8, "little")
    return swapped(data, layout.swap)


def _compressed_frame(file: BinaryIO, layout: PixelLayout, index: int) -> bytes:
    file.seek(layout.start)
    try:
        return get_frame(
            file, index, number_of_frames=layout.frames, extended_offsets=layout.offsets
        )
    except (ValueError, IndexError, EOFError, struct.error) as error:
        raise NoPixels("the fragments of the pixel data cannot be read") from error


def swapped(data: bytes, width: int) -> bytes:
    """Return values of `width` bytes with the bytes of each reversed; 0 leaves them."""
    if width == 0:
        return data
    result = bytearray(data[: len(data) // width * width])
    for at in range(width):
        result[at::width] = data[width - 1 - at : len(result) : width]
    return bytes(result)


def frame_numbers(text: str, *, most: int = 1000) -> Sequence[int]:
    """Return the frames of a path such as `1,2,3`, counted from 0.

    Raises:
        ValueError: something is not a number from 1, or there are too many.
    """
    parts = text.split(",")
    if len(parts) > most or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError("frames are numbers from 1, separated by commas")
    numbers = [int(part) - 1 for part in parts if len(part) <= _IS_DIGITS]
    if len(numbers) != len(parts) or min(numbers) < 0:
        raise ValueError("frames are numbers from 1, separated by commas")
    return numbers
