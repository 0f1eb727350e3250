"""The normalized DIMSE services on an association of ours (PS3.7 chapter 10).

N-CREATE, N-SET, N-GET, N-ACTION, N-DELETE. An N-EVENT-REPORT may come at any time, even before the
response to a request.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse.requestor import Association, PeerFault, faults
from darkroom_common.dimse.statuses import SUCCESS
from darkroom_common.dimse.wire.command import (
    CommandField,
    Element,
    Value,
    encode_command,
    encode_response,
)
from darkroom_common.dimse.wire.data_set import SYNTAXES, decode_data_set, encode_data_set
from darkroom_common.dimse.wire.messages import Message

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
        named: dict[int, Value] = {
            Element.AFFECTED_SOP_CLASS: sop_class_uid,
            Element.AFFECTED_SOP_INSTANCE: uid,
        }
        return self._ask(context, CommandField.N_CREATE, uid, named, attributes)

    def set(
        self, context: str, sop_class_uid: str, instance: str, attributes: Dataset
    ) -> NormalizedAnswer:
        """N-SET (10.1.3)."""
        named = _requested(sop_class_uid, instance)
        return self._ask(context, CommandField.N_SET, instance, named, attributes)

    def action(
        self, context: str, sop_class_uid: str, instance: str, action_type: int
    ) -> NormalizedAnswer:
        """N-ACTION without action information (10.1.4)."""
        named = _requested(sop_class_uid, instance) | {Element.ACTION_TYPE: action_type}
        return self._ask(context, CommandField.N_ACTION, instance, named)

    def delete(self, context: str, sop_class_uid: str, instance: str) -> NormalizedAnswer:
        """N-DELETE (10.1.6)."""
        named = _requested(sop_class_uid, instance)
        return self._ask(context, CommandField.N_DELETE, instance, named)

    def get(
        self, context: str, sop_class_uid: str, instance: str, tags: tuple[int, ...] = ()
    ) -> NormalizedAnswer:
        """N-GET of some attributes, or of all (10.1.2)."""
        named = _requested(sop_class_uid, instance)
        if tags:
            named[Element.ATTRIBUTES] = b"".join(
                struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags
            )
        return self._ask(context, CommandField.N_GET, instance, named)

    def wait(self, seconds: float) -> None:
        """Take the events that come within some seconds.

        Raises:
            PeerFault: the association has ended, or something else came.
        """
        deadline = SYSTEM_CLOCK.monotonic() + seconds
        while SYSTEM_CLOCK.monotonic() < deadline:
            try:
                message = self.association.receive(deadline)
            except PeerFault as fault:
                if fault.reason == "AnswerTimeout":
                    return
                raise
            if not self._take_event(message):
                raise PeerFault("ProtocolError", "a response that nobody asked for")

    def _ask(
        self,
        context: str,
        command_field: CommandField,
        instance: str,
        elements: dict[int, Value],
        attributes: Dataset | None = None,
    ) -> NormalizedAnswer:
        found = self.context(context)
        if found is None:
            raise PeerFault("SopClassNotAccepted", context, transient=False)
        number, syntax = found
        data = b"" if attributes is None else encode_data_set(attributes, syntax)
        message_id = self.association.next_message_id()
        elements[Element.MESSAGE_ID] = message_id
        command = encode_command(command_field, elements, data_set=bool(data))
        self.association.ask(number, command, data)
        return self._answer(message_id, command_field, instance)

    def _answer(
        self, message_id: int, command_field: CommandField, instance: str
    ) -> NormalizedAnswer:
        message = self.association.response(message_id, take=self._take_event)
        command = message.command
        if command.field != command_field:
            raise PeerFault("ProtocolError", "response-of-another-kind")
        return NormalizedAnswer(
            status=command.status,
            instance=command.text(Element.AFFECTED_SOP_INSTANCE) or instance,
            data_set=self._decoded(message),
            comment=command.text(Element.ERROR_COMMENT),
        )

    def _decoded(self, message: Message) -> Dataset:
        if not message.data_set:
            return Dataset()
        with faults():
            syntax = self.association.contexts[message.context].transfer_syntax
            return decode_data_set(message.data_set, syntax)

    def _take_event(self, message: Message) -> bool:
        command = message.command
        if command.is_response or command.field != CommandField.N_EVENT_REPORT:
            return False
        with faults():
            event_type = command.short(Element.EVENT_TYPE)
        reported = Reported(
            command.sop_class_uid, command.sop_instance_uid, event_type, self._decoded(message)
        )
        answer = encode_response(command, SUCCESS, elements={Element.EVENT_TYPE: event_type})
        self.association.ask(message.context, answer)
        self._told(reported)
        return True


def _requested(sop_class_uid: str, instance: str) -> dict[int, Value]:
    return {Element.REQUESTED_SOP_CLASS: sop_class_uid, Element.REQUESTED_SOP_INSTANCE: instance}
