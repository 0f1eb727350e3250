"""Command sets: implicit VR little endian, group 0000 only (PS3.7 chapters 6.3 and 9.3)."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from darkroom_common.dimse.wire.pdu import AbortReason, ProtocolError

COMMAND_LIMIT: Final = 1 << 16
"""Bytes of a command set that are read."""
_UID_LIMIT: Final = 64
_NO_DATA_SET: Final = 0x0101
_ELEMENT: Final = struct.Struct("<HHL")
_SHORT: Final = struct.Struct("<H")

_AFFECTED_SOP_CLASS: Final = 0x0002
_REQUESTED_SOP_CLASS: Final = 0x0003
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_RESPONDED_TO: Final = 0x0120
_PRIORITY: Final = 0x0700
_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_AFFECTED_SOP_INSTANCE: Final = 0x1000
_REQUESTED_SOP_INSTANCE: Final = 0x1001
_EVENT_TYPE: Final = 0x1002
_ACTION_TYPE: Final = 0x1008
_RESPONSE: Final = 0x8000


class CommandField(IntEnum):
    """The requests that are told apart, PS3.7 annex E."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    C_CANCEL = 0x0FFF
    N_EVENT_REPORT = 0x0100
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140


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
    found = decode_elements(data)
    return Command(
        field=decode_short(found, _COMMAND_FIELD),
        message_id=decode_short(found, _MESSAGE_ID, 0),
        has_data_set=decode_short(found, _DATA_SET_TYPE) != _NO_DATA_SET,
        sop_class_uid=found.get(_AFFECTED_SOP_CLASS, b"").strip(b"\x00 "),
        sop_instance_uid=found.get(_AFFECTED_SOP_INSTANCE, b"").strip(b"\x00 "),
    )


def decode_elements(data: bytes | bytearray) -> dict[int, bytes]:
    """Return the elements of a command set: number to value.

    Raises:
        ProtocolError: it is no whole command set.
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
    return found


def decode_short(found: dict[int, bytes], number: int, default: int | None = None) -> int:
    """Return the value of an element of VR US.

    Raises:
        ProtocolError: it is not there and has no default, or is no number of two bytes.
    """
    value = found.get(number)
    if value is None and default is not None:
        return default
    if value is None or len(value) != _SHORT.size:
        raise ProtocolError("bad-command", AbortReason.INVALID_PARAMETER)
    return int(_SHORT.unpack(value)[0])


def encode_element(number: int, value: bytes) -> bytes:
    """Return one element of a command set, padded."""
    value += b"\x00" * (len(value) % 2)
    return _ELEMENT.pack(0, number, len(value)) + value


def encode_response(request: Command, status: int) -> bytes:
    """Return the response to a request, without a data set (PS3.7 sections 9.3.1.2 and 9.3.5.2).

    UIDs that are too long to be any are left out: both are optional in a response.
    """
    body = b"".join(
        [
            _optional_uid(_AFFECTED_SOP_CLASS, request.sop_class_uid),
            encode_element(_COMMAND_FIELD, _SHORT.pack(request.field | _RESPONSE)),
            encode_element(_RESPONDED_TO, _SHORT.pack(request.message_id)),
            encode_element(_DATA_SET_TYPE, _SHORT.pack(_NO_DATA_SET)),
            encode_element(_STATUS, _SHORT.pack(status)),
            _optional_uid(_AFFECTED_SOP_INSTANCE, request.sop_instance_uid),
        ]
    )
    return encode_element(0x0000, struct.pack("<L", len(body))) + body


def _optional_uid(number: int, uid: bytes) -> bytes:
    return encode_element(number, uid) if 0 < len(uid) <= _UID_LIMIT else b""


@dataclass(frozen=True)
class Response:
    """One response."""

    field: int
    responded_to: int
    status: int
    has_data_set: bool


def decode_response(data: bytes | bytearray) -> Response:
    """Return a response.

    Raises:
        ProtocolError: it is no whole command set, or lacks what every response has.
    """
    found = decode_elements(data)
    field = decode_short(found, _COMMAND_FIELD)
    if not field & _RESPONSE:
        raise ProtocolError("no-response", AbortReason.UNEXPECTED_PDU)
    return Response(
        field=field & ~_RESPONSE,
        responded_to=decode_short(found, _RESPONDED_TO),
        status=decode_short(found, _STATUS),
        has_data_set=decode_short(found, _DATA_SET_TYPE) != _NO_DATA_SET,
    )


def encode_echo_request(message_id: int, sop_class_uid: bytes) -> bytes:
    """Return a C-ECHO-RQ (PS3.7 section 9.3.5.1)."""
    return encode_command_set(
        encode_element(_AFFECTED_SOP_CLASS, sop_class_uid),
        encode_element(_COMMAND_FIELD, _SHORT.pack(CommandField.C_ECHO)),
        encode_element(_MESSAGE_ID, _SHORT.pack(message_id)),
        encode_element(_DATA_SET_TYPE, _SHORT.pack(_NO_DATA_SET)),
    )


def encode_store_request(
    message_id: int, sop_class_uid: bytes, sop_instance_uid: bytes, *, priority: int = 0
) -> bytes:
    """Return a C-STORE-RQ (PS3.7 section 9.3.1.1). Priority: 0 medium, 1 high, 2 low."""
    return encode_command_set(
        encode_element(_AFFECTED_SOP_CLASS, sop_class_uid),
        encode_element(_COMMAND_FIELD, _SHORT.pack(CommandField.C_STORE)),
        encode_element(_MESSAGE_ID, _SHORT.pack(message_id)),
        encode_element(_PRIORITY, _SHORT.pack(priority)),
        encode_element(_DATA_SET_TYPE, _SHORT.pack(0)),
        encode_element(_AFFECTED_SOP_INSTANCE, sop_instance_uid),
    )


def encode_command_set(*elements: bytes) -> bytes:
    """Return a command set with its group length."""
    body = b"".join(elements)
    return encode_element(0x0000, struct.pack("<L", len(body))) + body


def has_data_set(data: bytes | bytearray) -> bool:
    """Tell whether a data set follows a command set.

    Raises:
        ProtocolError: it is no whole command set.
    """
    return decode_short(decode_elements(data), _DATA_SET_TYPE) != _NO_DATA_SET


def encode_action_request(
    message_id: int, sop_class_uid: bytes, sop_instance_uid: bytes, action_type: int
) -> bytes:
    """Return an N-ACTION-RQ with a data set (PS3.7 section 10.3.4.1)."""
    return encode_command_set(
        encode_element(_REQUESTED_SOP_CLASS, sop_class_uid),
        encode_element(_COMMAND_FIELD, _SHORT.pack(CommandField.N_ACTION)),
        encode_element(_MESSAGE_ID, _SHORT.pack(message_id)),
        encode_element(_DATA_SET_TYPE, _SHORT.pack(0)),
        encode_element(_REQUESTED_SOP_INSTANCE, sop_instance_uid),
        encode_element(_ACTION_TYPE, _SHORT.pack(action_type)),
    )


@dataclass(frozen=True)
class EventReport:
    """An N-EVENT-REPORT-RQ (PS3.7 section 10.3.1.1)."""

    message_id: int
    sop_class_uid: bytes
    sop_instance_uid: bytes
    event_type: int


def decode_event_report(data: bytes) -> EventReport | None:
    """Return an N-EVENT-REPORT-RQ; None when the command is another one.

    Raises:
        ProtocolError: it is no whole command set.
    """
    found = decode_elements(data)
    if decode_short(found, _COMMAND_FIELD) != CommandField.N_EVENT_REPORT:
        return None
    return EventReport(
        message_id=decode_short(found, _MESSAGE_ID),
        sop_class_uid=found.get(_AFFECTED_SOP_CLASS, b"").strip(b"\x00 "),
        sop_instance_uid=found.get(_AFFECTED_SOP_INSTANCE, b"").strip(b"\x00 "),
        event_type=decode_short(found, _EVENT_TYPE),
    )


def encode_event_response(report: EventReport, status: int) -> bytes:
    """Return the N-EVENT-REPORT-RSP (PS3.7 section 10.3.1.2)."""
    return encode_command_set(
        _optional_uid(_AFFECTED_SOP_CLASS, report.sop_class_uid),
        encode_element(_COMMAND_FIELD, _SHORT.pack(CommandField.N_EVENT_REPORT | _RESPONSE)),
        encode_element(_RESPONDED_TO, _SHORT.pack(report.message_id)),
        encode_element(_DATA_SET_TYPE, _SHORT.pack(_NO_DATA_SET)),
        encode_element(_STATUS, _SHORT.pack(status)),
        _optional_uid(_AFFECTED_SOP_INSTANCE, report.sop_instance_uid),
        encode_element(_EVENT_TYPE, _SHORT.pack(report.event_type)),
    )
