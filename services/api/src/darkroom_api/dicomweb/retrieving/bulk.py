"""Single values of an object by their path: `<tag>[/<item>/<tag>...]`, items from 0.

They are found in workers.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from darkroom_api.dicomweb.retrieving.pixels import DEFER, Values, pieces, swapped
from darkroom_common.dicom.heads import UNDEFINED
from darkroom_common.dicom.stored import PIXELS, StoredObject
from darkroom_common.errors import PermanentError

_TAG: Final = re.compile(r"^[0-9A-Fa-f]{8}$")
_ITEM: Final = re.compile(r"^[0-9]{1,9}$")
MAX_DEPTH: Final = 32
PIXEL_DATA: Final = 0x7FE00010
_WIDTHS: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


class NoSuchValue(PermanentError):
    """The object has no value at this path."""


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


def find_value(stored: StoredObject, path: BulkPath) -> Values:
    """Find a value; one that is long is only located.

    Raises:
        NoSuchValue: nothing is there.
    """
    raw = _element(stored, path, DEFER)
    located = raw.value is None and raw.length != 0
    if located and raw.length == UNDEFINED:  # fragments, whose length is not told
        raw, located = _element(stored, path, None), False
    width = _WIDTHS.get(str(raw.VR)[:2], 0) if stored.encoding.big else 0
    if located:
        if not width and not stored.inflated:
            return Values([raw.length], [[(raw.value_tell, raw.length)]])
        made = pieces(stored, raw.value_tell, raw.length)
        whole = raw.length // width * width if width else raw.length
        return Values([whole], made=(swapped(one, width) for one in made))
    value = raw.value.encode("utf-8") if isinstance(raw.value, str) else raw.value
    if not isinstance(value, bytes):
        raise NoSuchValue("the value is not bulk data")
    value = swapped(value, width)
    return Values([len(value)], made=iter([value]))


def _element(stored: StoredObject, path: BulkPath, defer: int | None) -> Any:
    first = path.through[0][0] if path.through else path.tag
    stop_at = PIXELS if first < min(PIXELS) else frozenset[int]()
    holder = stored.data_set(defer=defer, stop_at=stop_at).data_set
    for tag, item in path.through:
        holder = holder[tag].value[item]
    raw: Any = holder.get_item(path.tag, keep_deferred=True)
    if raw is None or raw.VR == "SQ":
        raise NoSuchValue("there is no such value")
    return raw
