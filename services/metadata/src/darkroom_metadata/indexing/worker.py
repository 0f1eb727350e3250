"""`python -m darkroom_metadata.indexing.worker`: reads the headers that are not ordinary.

A process of its own, since a hostile object may cost memory and time without end. A task is a line
of JSON, and so is the answer.
"""

import struct
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import orjson
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed, TextReader
from darkroom_common.dicom.heads import UNDEFINED
from darkroom_common.dicom.json_model import DEFER_LIMIT, to_json
from darkroom_common.dicom.json_values import JsonDataset, texts
from darkroom_common.dicom.limits import DEFAULT_LIMITS
from darkroom_common.dicom.stored import Found, StoredObject, stored_object
from darkroom_common.dicom.walk import ITEM, Unreadable, Walker
from darkroom_common.objects.frame_places import packed
from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable, open_store
from darkroom_common.workers.answering import answer_tasks
from darkroom_metadata.indexing.extract import KEPT, UNREADABLE

STORE: Final = "store"
MISSING: Final = "missing"
_CHARACTER_SET: Final = "00080005"
_FRAMES: Final = "00280008"
_PIXEL_DATA: Final = 0x7FE00010
_ITEM: Final = struct.Struct("<HHL")
_WANTED: Final = frozenset(int(tag, 16) for tag in {*KEPT, _CHARACTER_SET})
_PIECE: Final = 1 << 16


def answer(store: ObjectStore, line: bytes) -> list[bytes]:
    """Return the answer to a task.

    Args:
        store: has the object.
        line: JSON with `key`, `syntax`, `start` and `size` of the data set, `assumed` of its
            sender, and whether `few` attributes will do: those that rows are made of.
    """
    return [orjson.dumps(_answered(store, orjson.loads(line))), b"\n"]


def _answered(store: ObjectStore, task: dict[str, Any]) -> dict[str, Any]:
    place = task["syntax"], task["start"], task["size"]
    try:
        with store.open_now(task["key"]) as file, stored_object(file, *place) as stored:
            assumed, places = Assumed(**task["assumed"]), None
            if task["few"]:
                header, flags = read_few(stored, assumed)
            else:
                found = stored.data_set(defer=DEFER_LIMIT)
                header, flags = _header(found, assumed)
                places = _places(stored, found, header)
    except ObjectMissing:
        return {"error": MISSING}
    except (StoreUnavailable, OSError):
        return {"error": STORE}
    except MemoryError:
        raise  # it ends the process: few attributes may be had all the same
    except Exception as error:  # noqa: BLE001 - pydicom's kinds are many
        return {"error": type(error).__name__}
    kept = {tag: header[tag] for tag in KEPT if tag in header}
    text = orjson.dumps(header).decode()
    return {"attributes": kept, "flags": flags, "text": text, "places": places and places.hex()}


def read_header(
    stored: StoredObject, assumed: Assumed = NOTHING_ASSUMED
) -> tuple[JsonDataset, tuple[str, ...]]:
    """Return the header of an object as DICOM JSON, and its flags; long values are not read.

    Raises:
        Exception: pydicom cannot read it; the kinds are many.
    """
    return _header(stored.data_set(defer=DEFER_LIMIT), assumed)


def _header(found: Found, assumed: Assumed) -> tuple[JsonDataset, tuple[str, ...]]:
    broken = (UNREADABLE,) if found.broken else ()
    text = TextReader(assumed)
    header = to_json(found.data_set, text)
    return header, (*sorted(text.flags.union(found.oddities)), *broken)


def places_of(
    header: JsonDataset, items: Sequence[tuple[int, int]], syntax: str, start: int
) -> bytes | None:
    """Return the places of compressed frames, see `objects.frame_places`.

    Args:
        header: of the object, as DICOM JSON.
        items: of its pixel data: where the bytes of each begin in the data set, and how many.
        syntax: its transfer syntax.
        start: of the data set in the object.
    """
    try:
        frames = int(next(iter(texts(header.get(_FRAMES))), "") or 1)
    except ValueError:
        return None
    return packed([(start + at, length) for at, length in items], frames, syntax)


def _places(stored: StoredObject, found: Found, header: JsonDataset) -> bytes | None:
    pixels: Any = found.data_set.get_item(_PIXEL_DATA, keep_deferred=True)
    if pixels is None or pixels.length != UNDEFINED or stored.inflated or found.broken:
        return None
    items, at = [], pixels.value_tell
    for _ in range(DEFAULT_LIMITS.elements):
        head = stored.read(at, _ITEM.size)
        if len(head) < _ITEM.size:
            return None  # it ends before it says so: a walk tells what there is
        group, element, length = _ITEM.unpack(head)
        at += _ITEM.size
        if group << 16 | element != ITEM:
            break
        items.append((at, length))
        at += length
    return places_of(header, items, stored.transfer_syntax_uid, 0)


def read_few(
    stored: StoredObject, assumed: Assumed = NOTHING_ASSUMED
) -> tuple[JsonDataset, tuple[str, ...]]:
    """Return the attributes that rows are made of, as far as they are short and no sequences."""
    walker = Walker(stored.encoding, wanted=_WANTED)
    try:
        for at in range(0, stored.size, _PIECE):
            walker.feed(stored.read(stored.start + at, min(_PIECE, stored.size - at)))
    except Unreadable:
        pass  # what came before is known
    implicit, big = stored.encoding
    data_set = Dataset()
    for tag, (value, _) in walker.values.items():
        vr = dictionary_VR(tag)
        if vr != "SQ":
            place = BaseTag(tag), vr, len(value), value, 0
            data_set[tag] = RawDataElement(*place, implicit, not big)
    return to_json(data_set, TextReader(assumed)), (UNREADABLE,)


if __name__ == "__main__":
    answer_tasks(partial(answer, open_store(sys.argv[2])))
