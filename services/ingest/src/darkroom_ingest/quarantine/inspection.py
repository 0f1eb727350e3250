"""Looks at an object in quarantine again, with the code and the settings of today."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom.datadict import keyword_for_tag

from darkroom_common.dicom.heads import DEFLATED, Encoding
from darkroom_common.dicom.identity import Identity, IdentityReader
from darkroom_common.dicom.inflate import Inflater
from darkroom_common.dicom.limits import ReadLimits
from darkroom_common.dicom.part10 import HEAD_LIMIT, FileMeta, decode_head
from darkroom_common.dicom.walk import Element, Unreadable, Walker
from darkroom_common.objects.quarantine import Entry
from darkroom_ingest.receiving.acceptance import INCOMPLETE, Offer, match

MOST_ELEMENTS: Final = 1000
"""Elements that are listed."""
_PIECE: Final = 1 << 20
_UID_TAGS: Final = frozenset(
    {0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00200052, 0x00081150, 0x00081155}
)
_NUMBER_TAGS: Final = frozenset({0x00280002, 0x00280010, 0x00280011, 0x00280100})
_MODALITY: Final = 0x00080060
_SHOWN: Final = _UID_TAGS | _NUMBER_TAGS | {_MODALITY}
_PLAIN_UID: Final = re.compile(r"^[0-9.]{1,64}$")
_PLAIN_CODE: Final = re.compile(r"^[A-Z0-9_]{1,16}$")


@dataclass(frozen=True)
class Problem:
    """Why an object is not accepted today; `position` is a byte of the data set."""

    reason: str
    position: int | None = None


@dataclass(frozen=True)
class Inspection:
    """What can be said of an object."""

    meta: FileMeta
    offset: int
    """Where the data set starts in the file."""
    identity: Identity | None
    """None when not even its UIDs can be told."""
    problem: Problem | None


def inspect(path: Path, entry: Entry, limits: ReadLimits, *, strict_uids: bool) -> Inspection:
    """Decide as receiving does, and who the object is as far as that can be told.

    Raises:
        Unreadable: the head, which is ours, is damaged.
        OSError: the file cannot be read.
    """
    meta, offset = _head(path)
    reader = IdentityReader(meta.transfer_syntax_uid, limits)
    identity: Identity | None = None
    problem: Problem | None = None
    try:
        for piece in _data_set(path, offset):
            reader.feed(piece)
        identity = reader.finish()
    except Unreadable as error:
        problem = Problem(error.code, error.position)
        identity = _found(reader)
    if problem is None and entry.told.get("size", entry.size - offset) != entry.size - offset:
        problem = Problem(INCOMPLETE, entry.size - offset)
    if problem is None and identity is not None:
        offer = Offer(
            meta.sop_class_uid,
            meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            meta.calling_ae_title,
            meta.called_ae_title,
        )
        aside = match(offer, identity, strict_uids=strict_uids)
        problem = Problem(aside.reason) if aside else None
    return Inspection(meta, offset, identity, problem)


def elements(path: Path, limits: ReadLimits) -> Iterator[dict[str, Any]]:
    """Yield the top-level elements up to where the data set breaks.

    There are values only of those that identify nobody.

    Raises:
        Unreadable: the head, which is ours, is damaged.
        OSError: the file cannot be read.
    """
    meta, offset = _head(path)
    encoding = Encoding.of(meta.transfer_syntax_uid)
    listed: list[Element] = []
    walker = Walker(encoding, wanted=_SHOWN, on_element=listed.append, limits=limits)
    inflater = Inflater(limits.inflated_bytes) if meta.transfer_syntax_uid in DEFLATED else None
    try:
        for piece in _data_set(path, offset):
            for part in inflater.feed(piece) if inflater else [piece]:
                walker.feed(part)
            if len(listed) > MOST_ELEMENTS:
                break
    except Unreadable:
        pass  # `inspect` says so
    for element in listed[:MOST_ELEMENTS]:
        value = walker.values.get(element.tag, (b"", 0))[0]
        yield {
            "tag": f"{element.tag >> 16:04X},{element.tag & 0xFFFF:04X}",
            "keyword": keyword_for_tag(element.tag),
            "position": element.start,
            "length": element.end - element.start,
            "value": _plain(element.tag, value, big=encoding.big),
        }


def _head(path: Path) -> tuple[FileMeta, int]:
    with path.open("rb") as file:
        return decode_head(file.read(HEAD_LIMIT))


def _data_set(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(_PIECE):
            yield piece


def _found(reader: IdentityReader) -> Identity | None:
    try:
        return reader.found()
    except Unreadable:
        return None


def _plain(tag: int, value: bytes, *, big: bool) -> str | int | None:
    """Return a value that is what it should be; anything else might be a name."""
    text = value.decode("latin-1").strip("\x00 ")
    if tag in _UID_TAGS:
        return text if _PLAIN_UID.match(text) else None
    if tag == _MODALITY:
        return text if _PLAIN_CODE.match(text) else None
    if tag in _NUMBER_TAGS and len(value) == struct.calcsize("H"):
        return int(struct.unpack(">H" if big else "<H", value)[0])
    return None
