"""Command sets: implicit VR little endian, group 0000 only (PS3.7 chapters 6.3 and 9.3)."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from darkroom_common.dimse.pdu import AbortReason, ProtocolError

COMMAND_LIMIT: Final = 1 << 16
"""Bytes of a command set that are read."""
_UID_LIMIT: Final = 64
_NO_DATA_SET: Final = 0x0101
_ELEMENT: Final = struct.Struct("<HHL")
_SHORT: Final = struct.Struct("<H")

_AFFECTED_SOP_CLASS: Final = 0x0002
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_RESPONDED_TO: Final = 0x0120
_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_AFFECTED_SOP_INSTANCE: Final = 0x1000
_RESPONSE: Final = 0x8000


class CommandField(IntEnum):
    """The requests that are told apart, PS3.7 annex E."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    C_CANCEL = 0x0FFF


@dataclass(frozen=True)
class Command:
    """One request. UIDs are as they were sent, without padding."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: bytes = b""
    sop_instance_uid: bytes = b""


def decode_command(data: bytes | bytearray) -> Command:
    """Return a request; elements may stand in any order, unknown ones are passed over.

    Raises:
        ProtocolError: it is no whole command set, or lacks what every request has.
    """
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + _ELEMENT.size > len(data):
            raise ProtocolError("bad-command", AbortReason.INVALID_PARAMETER)
        group, number, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group or length > len(data) - at:
            raise ProtocolError("bad-command", AbortReason.INVALID_PARAMETER)
        found[number] = bytes(data[at : at + length])
        at += length
    return Command(
        field=_short(found, _COMMAND_FIELD),
        message_id=_short(found, _MESSAGE_ID, 0),
        has_data_set=_short(found, _DATA_SET_TYPE) != _NO_DATA_SET,
        sop_class_uid=found.get(_AFFECTED_SOP_CLASS, b"").strip(b"\x00 "),
        sop_instance_uid=found.get(_AFFECTED_SOP_INSTANCE, b"").strip(b"\x00 "),
    )


def _short(found: dict[int, bytes], number: int, default: int | None = None) -> int:
    value = found.get(number)
    if value is None and default is not None:
        return default
    if value is None or len(value) != _SHORT.size:
        raise ProtocolError("bad-command", AbortReason.INVALID_PARAMETER)
    return int(_SHORT.unpack(value)[0])


def _element(number: int, value: bytes) -> bytes:
    value += b"\x00" * (len(value) % 2)
    return _ELEMENT.pack(0, number, len(value)) + value


def encode_response(request: Command, status: int) -> bytes:
    """Return the response to a request, without a data set (PS3.7 sections 9.3.1.2 and 9.3.5.2).

    UIDs that are too long to be any are left out: both are optional in a response.
    """
    body = b"".join(
        [
            _optional_uid(_AFFECTED_SOP_CLASS, request.sop_class_uid),
            _element(_COMMAND_FIELD, _SHORT.pack(request.field | _RESPONSE)),
            _element(_RESPONDED_TO, _SHORT.pack(request.message_id)),
            _element(_DATA_SET_TYPE, _SHORT.pack(_NO_DATA_SET)),
            _element(_STATUS, _SHORT.pack(status)),
            _optional_uid(_AFFECTED_SOP_INSTANCE, request.sop_instance_uid),
        ]
    )
    return _element(0x0000, struct.pack("<L", len(body))) + body


def _optional_uid(number: int, uid: bytes) -> bytes:
    return _element(number, uid) if 0 < len(uid) <= _UID_LIMIT else b""
