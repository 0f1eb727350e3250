"""Single values of an object by their path: `<tag>[/<item>/<tag>...]`, items from 0. In threads."""

import re
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from darkroom_api.dicomweb.pixels import swapped
from darkroom_common.errors import PermanentError

_TAG: Final = re.compile(r"^[0-9A-Fa-f]{8}$")
_ITEM: Final = re.compile(r"^[0-9]{1,9}$")
MAX_DEPTH: Final = 32
DEFER: Final = 65536
PIXEL_DATA: Final = 0x7FE00010
UNDEFINED: Final = 0xFFFFFFFF
_WIDTHS: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


class NoSuchValue(PermanentError):
    """The object has no value at this path."""


@dataclass(frozen=True)
class BulkValue:
    """A value: its bytes, or where they are in the object."""

    data: bytes | None
    start: int = 0
    length: int = 0


@dataclass(frozen=True)
class BulkPath:
    """A path to an element: (tag, item) pairs through sequences, then the tag."""

    through: tuple[tuple[int, int], ...]
    tag: int

    @property
    def is_pixel_data(self) -> bool:
        """Whether this is the pixel data of the object itself."""
        return not self.through and self.tag == PIXEL_DATA


def parse_path(text: str) -> BulkPath:
    """Return a path.

    Raises:
        NoSuchValue: it has another form, so nothing can be there.
    """
    parts = text.split("/")
    tags, items = parts[::2], parts[1::2]
    sound = len(parts) % 2 == 1 and len(tags) <= MAX_DEPTH
    if not sound or not all(map(_TAG.match, tags)) or not all(map(_ITEM.match, items)):
        raise NoSuchValue("not a path of tags and items")
    numbers = [int(tag, 16) for tag in tags]
    steps = tuple(zip(numbers[:-1], map(int, items), strict=True))
    return BulkPath(steps, numbers[-1])


def read_value(file: BinaryIO, path: BulkPath) -> BulkValue:
    """Find a value; one of the data set itself that is long is only located.

    Raises:
        NoSuchValue: nothing is there, or it cannot be read.
    """
    try:
        return _read_value(file, path)
    except NoSuchValue:
        raise
    except (
        InvalidDicomError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
        struct.error,
        EOFError,
        NotImplementedError,
        RecursionError,
    ) as error:
        raise NoSuchValue("the object cannot be read to there") from error


def _read_value(file: BinaryIO, path: BulkPath) -> BulkValue:
    # In a sequence nothing is deferred: pydicom could not come back for it.
    nested = bool(path.through)
    dataset = dcmread(
        file,
        defer_size=None if nested else DEFER,
        stop_before_pixels=nested and path.through[0][0] < PIXEL_DATA,
        force=True,
    )
    deflated = dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if deflated and not nested:  # positions in the inflated stream mean nothing in the object
        file.seek(0)
        dataset = dcmread(file, force=True)
    holder: Dataset = dataset
    for tag, item in path.through:
        holder = holder[tag].value[item]
    raw: Any = holder.get_item(path.tag, keep_deferred=True)
    if raw is None or raw.VR == "SQ":
        raise NoSuchValue("there is no such value")
    width = _WIDTHS.get(str(raw.VR)[:2], 0) if dataset.original_encoding[1] is False else 0
    value = raw.value
    if value is None and isinstance(raw, RawDataElement) and raw.length not in (0, UNDEFINED):
        if not width:
            return BulkValue(None, raw.value_tell, raw.length)
        file.seek(raw.value_tell)
        value = file.read(raw.length)
    if isinstance(value, str):
        value = value.encode("utf-8")
    if not isinstance(value, bytes | bytearray):
        raise NoSuchValue("the value is not bulk data")
    return BulkValue(swapped(bytes(value), width))
