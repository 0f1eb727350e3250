"""Reads the head of a file as it comes: also one that is not as PS3.10 section 7.1 wants it."""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from darkroom_common.dicom.heads import (
    EXPLICIT_BIG,
    IMPLICIT_LITTLE,
    LONG_HEAD,
    LONG_VRS,
    SHORT_HEAD,
    SHORT_VRS,
)
from darkroom_common.dicom.part10 import HEAD_LIMIT, PREFIX
from darkroom_common.dicom.syntaxes import EXPLICIT_LITTLE
from darkroom_common.validation.content import Element, Item
from darkroom_common.validation.findings import At, Findings, Kind

_MODULE: Final = "File Meta Information"
_SECTION: Final = "PS3.10 7.1"
GROUP_LENGTH: Final = 0x00020000
VERSION: Final = 0x00020001
SOP_CLASS: Final = 0x00020002
SOP_INSTANCE: Final = 0x00020003
TRANSFER_SYNTAX: Final = 0x00020010
IMPLEMENTATION: Final = 0x00020012
_NEEDED: Final = (VERSION, SOP_CLASS, SOP_INSTANCE, TRANSFER_SYNTAX, IMPLEMENTATION)
_START: Final = 128 + len(PREFIX)
_GROUP: Final = 2
_BIG_GROUPS: Final = range(0x0100, 0x10000, 0x0100)


@dataclass(frozen=True)
class Head:
    """What stands before the data set.

    Attributes:
        meta: elements of group 2; none when the file has no head.
        transfer_syntax_uid: of the data set, said or guessed.
        start: where the data set begins.
        has_prefix: whether it begins as a file of PS3.10 does.
    """

    meta: Item
    transfer_syntax_uid: str
    start: int
    has_prefix: bool


def read_head(file: BinaryIO, findings: Findings) -> Head:
    """Read the head of a file, and find what is wrong with it.

    Raises:
        OSError: it cannot be read.
    """
    file.seek(0)
    data = file.read(HEAD_LIMIT)
    has_prefix = data[128:_START] == PREFIX
    start = _START if has_prefix else 0
    meta, end = _group_2(data, start)
    if not has_prefix:
        _say(findings, Kind.STRUCTURE, "There is no preamble with the prefix DICM.")
    if not has_prefix and not meta.elements:
        return Head(meta, _guessed(data[:8]), 0, has_prefix)
    for tag in _NEEDED:
        element = meta.elements.get(tag)
        if element is None:
            _say(findings, Kind.MISSING, "An attribute of type 1 is missing.", tag)
        elif element.is_empty:
            _say(findings, Kind.EMPTY, "An attribute of type 1 has no value.", tag)
    if GROUP_LENGTH not in meta.elements:
        _say(findings, Kind.MISSING, "An attribute of type 1 is missing.", GROUP_LENGTH)
    syntax = meta.text_of(TRANSFER_SYNTAX) or _guessed(data[end : end + 8])
    return Head(meta, syntax, end, has_prefix)


def _say(findings: Findings, kind: Kind, text: str, tag: int | None = None) -> None:
    findings.add(kind, text, At(tag, _SECTION, _MODULE))


def _group_2(data: bytes, at: int) -> tuple[Item, int]:
    """Return the elements of group 2 from a place on, and where they end."""
    found = Item()
    while len(data) - at >= SHORT_HEAD:
        group, number = struct.unpack_from("<HH", data, at)
        vr = data[at + 4 : at + 6]
        if group != _GROUP:
            break
        if vr in SHORT_VRS:
            size, (length,) = SHORT_HEAD, struct.unpack_from("<H", data, at + 6)
        elif vr in LONG_VRS and len(data) - at >= LONG_HEAD:
            size, (length,) = LONG_HEAD, struct.unpack_from("<L", data, at + 8)
        else:
            vr, size, (length,) = b"", SHORT_HEAD, struct.unpack_from("<L", data, at + 4)
        if at + size + length > len(data):
            break
        tag = group << 16 | number
        raw = data[at + size : at + size + length]
        written = vr.decode()
        known = written or ("UL" if not number else "OB" if tag == VERSION else "UI")
        found.elements[tag] = Element(tag, known, written, length, raw, None, big=False)
        at += size + length
    return found, at


def _guessed(beginning: bytes) -> str:
    """Return the transfer syntax that the first element of a data set looks like."""
    if beginning[4:6] not in SHORT_VRS | LONG_VRS:
        return IMPLICIT_LITTLE
    group = struct.unpack_from("<H", beginning)[0]
    return EXPLICIT_BIG if group in _BIG_GROUPS else EXPLICIT_LITTLE
