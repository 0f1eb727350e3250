"""Command sets of asking other nodes: C-FIND, C-MOVE, C-GET, C-CANCEL, N-CREATE and N-SET.

PS3.7 sections 9.3.2 to 9.3.4, 10.3.3 and 10.3.5.
"""

import struct
from dataclasses import dataclass
from typing import Final

from darkroom_common.dimse.statuses import is_pending
from darkroom_common.dimse.wire.command import (
    CommandField,
    decode_elements,
    decode_short,
    encode_command_set,
    encode_element,
)
from darkroom_common.dimse.wire.pdu import ProtocolError

_NO_DATA_SET: Final = 0x0101
_RESPONSE: Final = 0x8000
_AFFECTED_SOP_CLASS: Final = 0x0002
_REQUESTED_SOP_CLASS: Final = 0x0003
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_RESPONDED_TO: Final = 0x0120
_MOVE_DESTINATION: Final = 0x0600
_PRIORITY: Final = 0x0700
_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_AFFECTED_SOP_INSTANCE: Final = 0x1000
_REQUESTED_SOP_INSTANCE: Final = 0x1001
_ATTRIBUTE_LIST: Final = 0x1005
_REMAINING: Final = 0x1020
_COMPLETED: Final = 0x1021
_FAILED: Final = 0x1022
_WARNED: Final = 0x1023


def _short(number: int, value: int) -> bytes:
    return encode_element(number, struct.pack("<H", value))


def _uid(number: int, uid: str) -> bytes:
    return encode_element(number, uid.encode("latin-1", "replace"))


def encode_query(
    field: CommandField, message_id: int, sop_class_uid: str, *, move_destination: str = ""
) -> bytes:
    """Return a C-FIND-RQ, C-GET-RQ or, with its destination, a C-MOVE-RQ of medium priority."""
    destination = (
        [encode_element(_MOVE_DESTINATION, _title(move_destination))] if move_destination else []
    )
    return encode_command_set(
        _uid(_AFFECTED_SOP_CLASS, sop_class_uid),
        _short(_COMMAND_FIELD, field),
        _short(_MESSAGE_ID, message_id),
        *destination,
        _short(_PRIORITY, 0),
        _short(_DATA_SET_TYPE, 0),
    )


def _title(ae_title: str) -> bytes:
    raw = ae_title.encode("latin-1", "replace")
    return raw + b" " * (len(raw) % 2)


def encode_cancel(message_id: int) -> bytes:
    """Return a C-CANCEL-RQ for a request (PS3.7 sections 9.3.2.3, 9.3.3.3 and 9.3.4.3)."""
    return encode_command_set(
        _short(_COMMAND_FIELD, CommandField.C_CANCEL),
        _short(_RESPONDED_TO, message_id),
        _short(_DATA_SET_TYPE, _NO_DATA_SET),
    )


def encode_create(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return an N-CREATE-RQ with an attribute list (PS3.7 section 10.3.5.1)."""
    return encode_command_set(
        _uid(_AFFECTED_SOP_CLASS, sop_class_uid),
        _short(_COMMAND_FIELD, CommandField.N_CREATE),
        _short(_MESSAGE_ID, message_id),
        _short(_DATA_SET_TYPE, 0),
        _uid(_AFFECTED_SOP_INSTANCE, sop_instance_uid),
    )


def encode_set(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return an N-SET-RQ with a modification list (PS3.7 section 10.3.3.1)."""
    return encode_command_set(
        _uid(_REQUESTED_SOP_CLASS, sop_class_uid),
        _short(_COMMAND_FIELD, CommandField.N_SET),
        _short(_MESSAGE_ID, message_id),
        _short(_DATA_SET_TYPE, 0),
        _uid(_REQUESTED_SOP_INSTANCE, sop_instance_uid),
    )


@dataclass(frozen=True)
class SubOperations:
    """Counts of the C-STOREs of a C-MOVE or C-GET; None where the peer does not say."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warned: int | None = None


@dataclass(frozen=True)
class Answer:
    """A response to one of these requests.

    Attributes:
        attributes: tags that the status is about, PS3.7 annex E.2 (0000,1005).
    """

    field: int
    status: int
    has_data_set: bool
    sub_operations: SubOperations
    attributes: tuple[int, ...]

    @property
    def pending(self) -> bool:
        """Whether more responses follow."""
        return is_pending(self.status)


def decode_answer(command: bytes, message_id: int) -> Answer:
    """Return the response to a request.

    Raises:
        ProtocolError: it is none, cannot be read, or answers another request.
    """
    found = decode_elements(command)
    field = decode_short(found, _COMMAND_FIELD)
    if not field & _RESPONSE:
        raise ProtocolError("no-response")
    if decode_short(found, _RESPONDED_TO) != message_id:
        raise ProtocolError("response-to-another-message")
    return Answer(
        field=field & ~_RESPONSE,
        status=decode_short(found, _STATUS),
        has_data_set=decode_short(found, _DATA_SET_TYPE) != _NO_DATA_SET,
        sub_operations=SubOperations(
            *(_count(found, number) for number in (_REMAINING, _COMPLETED, _FAILED, _WARNED))
        ),
        attributes=_tags(found.get(_ATTRIBUTE_LIST, b"")),
    )


def _count(found: dict[int, bytes], number: int) -> int | None:
    return decode_short(found, number) if found.get(number) else None


def _tags(value: bytes) -> tuple[int, ...]:
    whole = value[: len(value) & ~3]
    return tuple(group << 16 | element for group, element in struct.iter_unpack("<HH", whole))
