"""The normalized DIMSE services on an association of ours (PS3.7 chapter 10).

N-CREATE, N-SET, N-GET, N-ACTION, N-DELETE. An N-EVENT-REPORT may come at any time, even before the
response to a request.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from darkroom_common.dimse.requestor import Association, PeerFault, ReceivedMessage
from darkroom_common.dimse.wire.command import (
    CommandField,
    decode_elements,
    decode_event_report,
    decode_short,
    encode_command_set,
    encode_element,
    encode_event_response,
)
from darkroom_common.dimse.wire.data_set import SYNTAXES, decode_data_set, encode_data_set
from darkroom_common.dimse.wire.pdu import ProtocolError

_NO_DATA_SET: Final = 0x0101
_AFFECTED_SOP_CLASS: Final = 0x0002
_REQUESTED_SOP_CLASS: Final = 0x0003
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_RESPONDED_TO: Final = 0x0120
_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_ERROR_COMMENT: Final = 0x0902
_AFFECTED_SOP_INSTANCE: Final = 0x1000
_REQUESTED_SOP_INSTANCE: Final = 0x1001
_ATTRIBUTES: Final = 0x1005
_ACTION_TYPE: Final = 0x1008
_RESPONSE: Final = 0x8000
N_GET: Final = 0x0110
N_DELETE: Final = 0x0150
DATA_LIMIT: Final = 4 << 20
"""Bytes of a response's data set that are read."""


@dataclass(frozen=True)
class NormalizedAnswer:
    """The response to a request.

    Attributes:
        instance: SOP instance UID that the peer gave or repeated; of the request without one.
        data_set: attributes that came with it; empty without.
        comment: Error Comment (0000,0902). It may hold anything: for the operator, not for logs.
    """

    status: int
    instance: str
    data_set: Dataset = field(default_factory=Dataset)
    comment: str = ""


@dataclass(frozen=True)
class Reported:
    """An N-EVENT-REPORT of the peer."""

    sop_class_uid: str
    sop_instance_uid: str
    event_type: int
    data_set: Dataset


class NormalizedUser:
    """Asks for normalized services, one after the other. It blocks.

    Args:
        association: an open one.
        told: is called for each N-EVENT-REPORT.
    """

    def __init__(self, association: Association, told: Callable[[Reported], None]) -> None:
        self.association = association
        self._told = told

    def context(self, sop_class_uid: str) -> tuple[int, str] | None:
        """Return the presentation context of a SOP class and its transfer syntax, if accepted."""
        for syntax in SYNTAXES:
            number = self.association.accepted.get((sop_class_uid, syntax))
            if number is not None:
                return number, syntax
        return None

    def create(
        self, context: str, sop_class_uid: str, attributes: Dataset, instance: str = ""
    ) -> NormalizedAnswer:
        """N-CREATE under a context's SOP class; without an instance UID, one is made up."""
        uid = instance or str(generate_uid(prefix=None))
        return self._ask(
            context,
            CommandField.N_CREATE,
            uid,
            attributes,
            (_AFFECTED_SOP_CLASS, _uid(sop_class_uid)),
            (_AFFECTED_SOP_INSTANCE, _uid(uid)),
        )

    def set(
        self, context: str, sop_class_uid: str, instance: str, attributes: Dataset
    ) -> NormalizedAnswer:
        """N-SET (10.1.3)."""
        return self._ask(
            context, CommandField.N_SET, instance, attributes, *_requested(sop_class_uid, instance)
        )

    def action(
        self, context: str, sop_class_uid: str, instance: str, action_type: int
    ) -> NormalizedAnswer:
        """N-ACTION without action information (10.1.4)."""
        kind = (_ACTION_TYPE, action_type.to_bytes(2, "little"))
        return self._ask(
            context,
            CommandField.N_ACTION,
            instance,
            None,
            *_requested(sop_class_uid, instance),
            kind,
        )

    def delete(self, context: str, sop_class_uid: str, instance: str) -> NormalizedAnswer:
        """N-DELETE (10.1.6)."""
        return self._ask(context, N_DELETE, instance, None, *_requested(sop_class_uid, instance))

    def get(
        self, context: str, sop_class_uid: str, instance: str, tags: tuple[int, ...] = ()
    ) -> NormalizedAnswer:
        """N-GET of some attributes, or of all (10.1.2)."""
        wanted = b"".join(
            (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") for tag in tags
        )
        listed = ((_ATTRIBUTES, wanted),) if tags else ()
        return self._ask(
            context, N_GET, instance, None, *_requested(sop_class_uid, instance), *listed
        )

    def wait(self, seconds: float) -> None:
        """Take the events that come within some seconds.

        Raises:
            PeerFault: the association has ended, or something else came.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                message = self.association.receive(deadline, data_limit=DATA_LIMIT)
            except PeerFault as fault:
                if fault.reason == "AnswerTimeout":
                    return
                raise
            if not self._take_event(message):
                raise PeerFault("ProtocolError", "a response that nobody asked for")

    def _ask(
        self,
        context: str,
        command_field: int,
        instance: str,
        attributes: Dataset | None,
        *elements: tuple[int, bytes],
    ) -> NormalizedAnswer:
        found = self.context(context)
        if found is None:
            raise PeerFault("SopClassNotAccepted", context, transient=False)
        number, syntax = found
        data = b"" if attributes is None else encode_data_set(attributes, syntax)
        message_id = self.association.next_message_id()
        fixed = (
            (_COMMAND_FIELD, int(command_field).to_bytes(2, "little")),
            (_MESSAGE_ID, message_id.to_bytes(2, "little")),
            (_DATA_SET_TYPE, (0 if data else _NO_DATA_SET).to_bytes(2, "little")),
        )
        command = encode_command_set(
            *(encode_element(*element) for element in sorted((*fixed, *elements)))
        )
        self.association.ask(number, command, data)
        return self._answer(message_id, command_field, instance)

    def _answer(self, message_id: int, command_field: int, instance: str) -> NormalizedAnswer:
        deadline = time.monotonic() + self.association.peer.answer_seconds
        while True:
            message = self.association.receive(deadline, data_limit=DATA_LIMIT)
            if self._take_event(message):
                continue
            try:
                return self._read(message, message_id, command_field, instance)
            except ProtocolError as error:
                raise PeerFault("ProtocolError", error.code) from error

    def _read(
        self, message: ReceivedMessage, message_id: int, command_field: int, instance: str
    ) -> NormalizedAnswer:
        found = decode_elements(message.command)
        if decode_short(found, _COMMAND_FIELD) != command_field | _RESPONSE:
            raise ProtocolError("response-of-another-kind")
        if decode_short(found, _RESPONDED_TO) != message_id:
            raise ProtocolError("response-to-another-message")
        return NormalizedAnswer(
            status=decode_short(found, _STATUS),
            instance=_text(found.get(_AFFECTED_SOP_INSTANCE, b"")) or instance,
            data_set=self._decoded(message),
            comment=_text(found.get(_ERROR_COMMENT, b"")),
        )

    def _decoded(self, message: ReceivedMessage) -> Dataset:
        if not message.data_set:
            return Dataset()
        _, syntax = self.association.contexts.get(message.context, ("", SYNTAXES[-1]))
        return decode_data_set(message.data_set, syntax)

    def _take_event(self, message: ReceivedMessage) -> bool:
        try:
            report = decode_event_report(message.command)
            if report is None:
                return False
            reported = Reported(
                _text(report.sop_class_uid),
                _text(report.sop_instance_uid),
                report.event_type,
                self._decoded(message),
            )
        except ProtocolError as error:
            raise PeerFault("ProtocolError", error.code) from error
        self.association.ask(message.context, encode_event_response(report, 0), b"")
        self._told(reported)
        return True


def _requested(sop_class_uid: str, instance: str) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    return ((_REQUESTED_SOP_CLASS, _uid(sop_class_uid)), (_REQUESTED_SOP_INSTANCE, _uid(instance)))


def _uid(uid: str) -> bytes:
    return uid.encode("ascii", "replace")


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip("\0 ")
