"""Command sets: implicit VR little endian, group 0000 only (PS3.7 chapters 6.3, 9.3 and 10.3)."""

import dataclasses
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from darkroom_common.dicom.identity import LONGEST_UID
from darkroom_common.dimse.statuses import is_pending
from darkroom_common.dimse.wire.pdu import AbortReason, ProtocolError

COMMAND_LIMIT: Final = 1 << 16
"""Bytes of a command set that are read."""
_NO_DATA_SET: Final = 0x0101
_RESPONSE: Final = 0x8000
_ELEMENT: Final = struct.Struct("<HHL")
_SHORT: Final = struct.Struct("<H")
_MOST_COMMENT: Final = 64


class CommandField(IntEnum):
    """The requests, PS3.7 annex E. A response has bit 15 set."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    C_CANCEL = 0x0FFF
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150


class Element(IntEnum):
    """Numbers of elements of group 0000, PS3.7 annex E."""

    AFFECTED_SOP_CLASS = 0x0002
    REQUESTED_SOP_CLASS = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE = 0x1000
    REQUESTED_SOP_INSTANCE = 0x1001
    EVENT_TYPE = 0x1002
    ATTRIBUTES = 0x1005
    ACTION_TYPE = 0x1008
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNED = 0x1023
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


Value = int | str | bytes
"""A number of two bytes, a UID or text, or the value itself."""
_TEXTS: Final = frozenset(
    {Element.MOVE_DESTINATION, Element.MOVE_ORIGINATOR, Element.ERROR_COMMENT}
)
"""Padded with a space; a UID with NUL."""


@dataclass(frozen=True)
class SubOperations:
    """Counts of the C-STOREs of a C-MOVE or C-GET; None where the peer does not say."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warned: int | None = None


@dataclass(frozen=True)
class Command:
    """A request or a response. UIDs are as they were sent, without padding.

    Attributes:
        field: the request that it is, or that it answers.
        message_id: of the request; a response and a C-CANCEL name the one that they are about.
        elements: values by number.
    """

    field: int
    message_id: int
    has_data_set: bool
    is_response: bool = False
    elements: Mapping[int, bytes] = dataclasses.field(default_factory=dict)

    def text(self, *numbers: int) -> str:
        """Return the first of these elements that is there, without padding; else nothing."""
        found = (self.elements[number] for number in numbers if number in self.elements)
        return next(found, b"").decode("latin-1").strip("\x00 ")

    def short(self, number: int) -> int:
        """Return the value of an element of VR US.

        Raises:
            ProtocolError: it is not there, or is no number of two bytes.
        """
        return _short(self.elements, number)

    @property
    def sop_class_uid(self) -> str:
        """The affected or requested SOP class."""
        return self.text(Element.AFFECTED_SOP_CLASS, Element.REQUESTED_SOP_CLASS)

    @property
    def sop_instance_uid(self) -> str:
        """The affected or requested SOP instance."""
        return self.text(Element.AFFECTED_SOP_INSTANCE, Element.REQUESTED_SOP_INSTANCE)

    @property
    def status(self) -> int:
        """The status of a response."""
        return self.short(Element.STATUS)

    @property
    def is_pending(self) -> bool:
        """Whether more responses follow."""
        return is_pending(self.status)

    @property
    def attributes(self) -> tuple[int, ...]:
        """Tags that the status is about, PS3.7 annex E.2 (0000,1005)."""
        value = self.elements.get(Element.ATTRIBUTES, b"")
        whole = value[: len(value) & ~3]
        return tuple(group << 16 | number for group, number in struct.iter_unpack("<HH", whole))

    @property
    def sub_operations(self) -> SubOperations:
        """How far a C-MOVE or C-GET has come; what is no number of two bytes says nothing."""
        counts = (Element.REMAINING, Element.COMPLETED, Element.FAILED, Element.WARNED)
        values = (self.elements.get(number, b"") for number in counts)
        return SubOperations(
            *(_SHORT.unpack(one)[0] if len(one) == _SHORT.size else None for one in values)
        )


def decode_command(data: bytes | bytearray) -> Command:
    """Return a command; elements may stand in any order, unknown ones are passed over.

    Raises:
        ProtocolError: it is no whole command set, or lacks what every command has.
    """
    found = _decode_elements(data)
    kind = _short(found, Element.COMMAND_FIELD)
    is_response = bool(kind & _RESPONSE)
    about = is_response or kind == CommandField.C_CANCEL
    if is_response:
        _short(found, Element.STATUS)
    return Command(
        field=kind & ~_RESPONSE,
        message_id=_short(
            found, Element.RESPONDED_TO if about else Element.MESSAGE_ID, None if is_response else 0
        ),
        has_data_set=_short(found, Element.DATA_SET_TYPE) != _NO_DATA_SET,
        is_response=is_response,
        elements=found,
    )


def _decode_elements(data: bytes | bytearray) -> dict[int, bytes]:
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


def _short(found: Mapping[int, bytes], number: int, default: int | None = None) -> int:
    value = found.get(number)
    if value is None and default is not None:
        return default
    if value is None or len(value) != _SHORT.size:
        raise ProtocolError("bad-command", AbortReason.INVALID_PARAMETER)
    return int(_SHORT.unpack(value)[0])


def encode_command(
    command_field: int, elements: Mapping[int, Value], *, data_set: bool = False
) -> bytes:
    """Return a command set.

    Args:
        command_field: what it is.
        elements: its values by number, without those that are the same for all.
        data_set: whether one follows.
    """
    values = {
        **elements,
        Element.COMMAND_FIELD: command_field,
        Element.DATA_SET_TYPE: 0 if data_set else _NO_DATA_SET,
    }
    body = b"".join(_encode_element(number, values[number]) for number in sorted(values))
    return _encode_element(0x0000, struct.pack("<L", len(body))) + body


def _encode_element(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return _ELEMENT.pack(0, number, _SHORT.size) + _SHORT.pack(value)
    raw = value.encode("latin-1", "replace") if isinstance(value, str) else value
    if len(raw) % 2:
        raw += b" " if number in _TEXTS else b"\x00"
    return _ELEMENT.pack(0, number, len(raw)) + raw


def encode_response(
    request: Command,
    status: int,
    *,
    data_set: bool = False,
    elements: Mapping[int, Value] | None = None,
) -> bytes:
    """Return a response to a request (PS3.7 sections 9.3 and 10.3).

    UIDs that are too long to be any are left out: both are optional in a response.
    """
    named = {
        Element.AFFECTED_SOP_CLASS: request.sop_class_uid,
        Element.AFFECTED_SOP_INSTANCE: request.sop_instance_uid,
    }
    values: dict[int, Value] = {n: uid for n, uid in named.items() if 0 < len(uid) <= LONGEST_UID}
    values |= {Element.RESPONDED_TO: request.message_id, Element.STATUS: status}
    return encode_command(
        request.field | _RESPONSE, values | dict(elements or {}), data_set=data_set
    )


def encode_cancel(message_id: int) -> bytes:
    """Return a C-CANCEL-RQ for a request (PS3.7 sections 9.3.2.3, 9.3.3.3 and 9.3.4.3)."""
    return encode_command(CommandField.C_CANCEL, {Element.RESPONDED_TO: message_id})


def error_comment(reason: str) -> dict[int, Value]:
    """Return elements of a response that say why, in the 64 characters of an LO."""
    return {Element.ERROR_COMMENT: reason[:_MOST_COMMENT]} if reason else {}


def offending(tag: str) -> dict[int, Value]:
    """Return elements of a response that name the attribute at fault, by 8 hexadecimal digits."""
    return {Element.OFFENDING_ELEMENT: struct.pack("<HH", int(tag[:4], 16), int(tag[4:], 16))}
