"""Frames of an object as they are stored (PS3.5 section 8 and annex A). Runs in workers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pydicom.dataset import Dataset

from darkroom_api.dicomweb.retrieving.fragments import NoPixels, Stretch, frames_of
from darkroom_common.dicom.heads import UNDEFINED
from darkroom_common.dicom.stored import PIXELS, StoredObject
from darkroom_common.dicom.syntaxes import NATIVE, VIDEO
from darkroom_common.errors import PermanentError
from darkroom_common.objects.frame_places import ITEM_HEAD, head_of

DEFER: Final = 65536
"""Bytes of a value that is only located, not read."""
MAX_FRAME: Final = 1 << 30
PIECE: Final = 1 << 16
_IS_DIGITS: Final = 10  # most of an IS without its sign
_OFFSETS: Final = (0x7FE00001, 0x7FE00002)
_SWAPPED: Final = {16: 2, 32: 4, 64: 8}
_SUBSAMPLED: Final = "YBR_FULL_422"


class NoSuchFrame(PermanentError):
    """The object has fewer frames."""


@dataclass(frozen=True)
class Values:
    """Values of an object.

    Attributes:
        lengths: bytes of each.
        places: where each is among the object's own bytes, in one piece or several; None when
            they have to be made.
        made: the bytes of all, one value after the other, when they are.
    """

    lengths: Sequence[int]
    places: Sequence[Sequence[Stretch]] | None = None
    made: Iterator[bytes] = field(default_factory=lambda: iter(()))


def find_frames(stored: StoredObject, numbers: Sequence[int] | None) -> Values:
    """Return frames, counted from 0: native ones as little endian, others as they are.

    Args:
        stored: the object.
        numbers: which; None for all. A video is one frame: its stream.

    Raises:
        NoSuchFrame: there are fewer.
        NoPixels: there are none, or they cannot be told apart.
    """
    return frames_in(stored, stored.data_set(defer=DEFER, stop_at=PIXELS).data_set, numbers)


def frames_in(stored: StoredObject, dataset: Dataset, numbers: Sequence[int] | None) -> Values:
    """Do the same with the data set of the object, which was read up to its pixels."""
    syntax = stored.transfer_syntax_uid
    given = dataset.get("NumberOfFrames")
    frames = int(given) if given else None
    found: Any = (dataset.get_item(tag, keep_deferred=True) for tag in PIXELS if tag in dataset)
    pixels = next(found, None)
    if pixels is None or not pixels.length:
        raise NoPixels("there is no pixel data")
    if pixels.length == UNDEFINED:
        if syntax in NATIVE:
            raise NoPixels("the pixel data has fragments, which this transfer syntax has not")
        if said := _said(stored, numbers):
            return Values([length for _, length in said], [[one] for one in said])
        extended = _table(stored, dataset, 0), _table(stored, dataset, 1)
        count = 1 if syntax in VIDEO else frames
        every = frames_of(stored.read, pixels.value_tell, count, syntax, extended)
        places = [every[number] for number in chosen_of(numbers, len(every))]
        return Values([sum(length for _, length in one) for one in places], places)
    if syntax not in NATIVE and syntax.startswith("1.2.840.10008."):
        raise NoPixels("the pixel data has no fragments, which this transfer syntax has")
    if pixels.value_tell + pixels.length > stored.start + stored.size:
        raise NoPixels("the pixel data is cut")
    bits = _frame_bits(dataset, pixels.length, frames or 1)
    chosen = chosen_of(numbers, frames or 1)
    return _native(stored, dataset, pixels, bits, chosen)


def _said(stored: StoredObject, numbers: Sequence[int] | None) -> list[Stretch]:
    """Return where frames are said to be, if all are and the bytes before each agree."""
    found = [stored.frames.get(number, (0, 0)) for number in numbers or ()]
    if any(
        stored.read(start - ITEM_HEAD, ITEM_HEAD) != head_of(length) if start else True
        for start, length in found
    ):
        return []
    return found


def chosen_of(numbers: Sequence[int] | None, frames: int) -> Sequence[int]:
    """Return the frames that are asked for of so many, counted from 0; None asks for all.

    Raises:
        NoSuchFrame: there are fewer.
    """
    if numbers is None:
        return range(frames)
    if any(not 0 <= number < frames for number in numbers):
        raise NoSuchFrame("there is no such frame")
    return numbers


def _table(stored: StoredObject, dataset: Dataset, which: int) -> bytes:
    element: Any = dataset.get_item(_OFFSETS[which], keep_deferred=True)
    if element is None:
        return b""
    if element.value is None and element.length:
        return stored.read(element.value_tell, element.length)
    return element.value or b""


def _frame_bits(dataset: Dataset, length: int, frames: int) -> int:
    """Return the bits of one native frame."""
    rows, columns, allocated = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if dataset.get("PhotometricInterpretation") == _SUBSAMPLED:
        samples = 2
        padded = rows * (columns + columns % 2) * samples * allocated
        if padded * frames == length * 8:  # two pixels share their colour, the last with none
            columns += columns % 2
    bits = rows * columns * samples * allocated
    if not 0 < bits <= MAX_FRAME * 8:
        raise NoPixels("the size of a frame makes no sense")
    if length * 8 < bits * frames:
        raise NoPixels("the pixel data is shorter than its frames")
    return bits


def _native(
    stored: StoredObject, dataset: Dataset, pixels: Any, bits: int, chosen: Sequence[int]
) -> Values:
    lengths, tell = [(bits + 7) // 8] * len(chosen), pixels.value_tell
    allocated = int(dataset.BitsAllocated)
    swap = _SWAPPED.get(allocated, 0) if stored.encoding.big else 0
    words = stored.encoding.big and not swap and str(pixels.VR) == "OW"
    if not (bits % 8 or swap or words or stored.inflated):
        return Values(lengths, [[(tell + bits // 8 * number, bits // 8)] for number in chosen])
    if bits % 8 or words:
        make = partial(_bits, stored, tell, bits, words=words)
    else:
        make = partial(_whole, stored, tell, bits)
    return Values(lengths, made=(swapped(one, swap) for number in chosen for one in make(number)))


def _whole(stored: StoredObject, tell: int, bits: int, number: int) -> Iterator[bytes]:
    return pieces(stored, tell + bits // 8 * number, bits // 8)


def pieces(stored: StoredObject, start: int, length: int) -> Iterator[bytes]:
    """Yield bytes of an object, some at a time, each but the last a multiple of 8.

    Raises:
        NoPixels: the object is cut.
    """
    for at in range(start, start + length, PIECE):
        wanted = min(PIECE, start + length - at)
        data = stored.read(at, wanted)
        if len(data) < wanted:
            raise NoPixels("the value is cut")
        yield data


def _bits(
    stored: StoredObject, tell: int, bits: int, number: int, *, words: bool
) -> Iterator[bytes]:
    """Yield a frame that need not begin with a byte: they follow without padding (PS3.5 8.1.1).

    Octets in big-endian words (`words`) change places in pairs, wherever frames begin.
    """
    first = bits * number
    start, end = first // 8, (first + bits + 7) // 8
    if words:
        begin = start - start % 2
        pairs = b"".join(pieces(stored, tell + begin, end + end % 2 - begin))
        data = swapped(pairs, 2)[start - begin :][: end - start]
    else:
        data = b"".join(pieces(stored, tell + start, end - start))
    if bits % 8:
        value = (int.from_bytes(data, "little") >> (first % 8)) & ((1 << bits) - 1)
        data = value.to_bytes((bits + 7) // 8, "little")
    yield data


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
