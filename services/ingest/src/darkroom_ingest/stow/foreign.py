"""The heads of DICOM files of others (PS3.10 section 7.1), which are replaced by heads of ours."""

import re
import struct
from typing import Final, NamedTuple

from darkroom_common.dicom.heads import LONG_VRS, VRS
from darkroom_common.dicom.part10 import HEAD_LIMIT, PREAMBLE, PREFIX
from darkroom_common.dicom.walk import Unreadable

_META: Final = 2
_FIRST: Final = b"\x02\x00"
"""The group of the first element of a head, as it is written."""
_NAMED: Final = (0x0002, 0x0003, 0x0010)
"""Media Storage SOP Class UID and SOP Instance UID, Transfer Syntax UID."""
_SHORT, _LONG = 8, 12
_UID: Final = re.compile(r"[0-9.]{1,64}")


class ForeignHead(NamedTuple):
    """What a head says, as it says it, and where the data set begins."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int
    """Where the data set begins."""
    executable: bool
    """Whether the preamble holds anything, which is not kept: it may be a program (PS3.10 7.1)."""


def read_head(data: bytes | bytearray, *, whole: bool) -> ForeignHead | None:
    """Return the head of a file that begins so; None when it takes more bytes to tell.

    The group length is not believed, and a preamble need not be there: clients write such files.

    Args:
        data: the first bytes.
        whole: whether there are no more.

    Raises:
        Unreadable: it is no DICOM file, or its head is damaged or longer than `HEAD_LIMIT`.
    """
    if len(data) < len(PREAMBLE) + len(PREFIX) and not whole:
        return None
    at, executable = _start(data)
    values: dict[int, str] = {}
    while len(data) >= at + _SHORT:
        group, number = struct.unpack_from("<HH", data, at)
        if group != _META:
            return _found(values, at, executable=executable)
        vr, size = struct.unpack_from("<2sH", data, at + 4)
        head = _LONG if vr in LONG_VRS else _SHORT
        if len(data) < at + head:
            break
        if head == _LONG:
            (size,) = struct.unpack_from("<L", data, at + _SHORT)
        end = at + head + size
        if end > HEAD_LIMIT:
            raise Unreadable("bad-head", at)
        if end > len(data):
            break
        values[number] = bytes(data[at + head : end]).decode("latin-1").strip("\x00 ")
        at = end
    if whole or len(data) > HEAD_LIMIT:
        raise Unreadable("truncated", len(data))
    return None


def _start(data: bytes | bytearray) -> tuple[int, bool]:
    """Return where the first element is, and whether anything stands in the preamble."""
    at = len(PREAMBLE) + len(PREFIX)
    if bytes(data[len(PREAMBLE) : at]) == PREFIX:
        return at, any(data[: len(PREAMBLE)])
    if data[:2] == _FIRST and bytes(data[4:6]) in VRS:
        return 0, False  # dicomweb-client writes neither preamble nor prefix
    raise Unreadable("no-prefix", len(PREAMBLE))


def _found(values: dict[int, str], offset: int, *, executable: bool) -> ForeignHead:
    sop_class, sop_instance, syntax = (values.get(number, "") for number in _NAMED)
    if _UID.fullmatch(syntax) is None:
        raise Unreadable("no-transfer-syntax", offset)
    return ForeignHead(sop_class, sop_instance, syntax, offset, executable)
