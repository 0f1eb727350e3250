"""Requests of ours to whoever has opened an association: the C-STOREs of a C-GET (PS3.4 C.4.3).

They go out while a request of the other side is being served, so that what may come in meanwhile is
the answer to ours, a C-CANCEL, or the end.
"""

from typing import Final

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse.channel import MAX_LENGTH, Channel, Deadline
from darkroom_common.dimse.connection import SEND_LIMIT, PeerGone
from darkroom_common.dimse.journal import Tally
from darkroom_common.dimse.wire.association_items import Context
from darkroom_common.dimse.wire.command import Command, CommandField
from darkroom_common.dimse.wire.messages import Message
from darkroom_common.dimse.wire.pdu import AbortReason, ControlPdu, PduKind, ProtocolError

LEAST_RATE: Final = 4096.0
"""Bytes a second; a peer that takes less has stopped, for all we can wait."""
ANSWER_SECONDS: Final = 60.0
"""In which a peer must answer a request of ours."""
_monotonic: Final = SYSTEM_CLOCK.monotonic


def send_deadline(size: int) -> float:
    """Return until when so many bytes must have gone, on the monotonic clock."""
    return _monotonic() + SEND_LIMIT + size / LEAST_RATE


class BackChannel:
    """Asks the requestor of an association; it belongs to the association's thread.

    Attributes:
        accepted: context id by (abstract syntax, transfer syntax), of what the requestor serves.
        max_length: of the P-DATA-TF that it takes.
        cancelled: message ids for which a C-CANCEL has come meanwhile.
        tally: of the association.
    """

    def __init__(self, channel: Channel, tally: Tally) -> None:
        self.accepted = {
            (one.abstract_syntax, one.transfer_syntax): number
            for number, one in channel.contexts.items()
            if one.requestor_serves
        }
        self.max_length = min(channel.takes or MAX_LENGTH, MAX_LENGTH)
        self.cancelled: set[int] = set()
        self._channel = channel
        self.tally = tally
        self._message = 0

    def next_message_id(self) -> int:
        """Return an id that no open request of ours has."""
        self._message = self._message % 65_535 + 1
        return self._message

    def send(self, *parts: bytes | memoryview, deadline: float) -> None:
        """Send PDUs, before `deadline` on the monotonic clock.

        Raises:
            PeerGone: closed, reset, or the peer does not read.
            ProtocolError: this end is shutting down.
        """
        self._channel.connection.send(*(one for one in parts if len(one)), deadline=deadline)

    def ask(self, context: int, command: bytes, data_set: bytes) -> None:
        """Send a command with its data set.

        Raises:
            PeerGone, ProtocolError: see `send`.
        """
        pdus = self._channel.encode(context, command, data_set)
        self.send(pdus, deadline=send_deadline(len(pdus)))

    def number_of(self, context: Context) -> int:
        """Return the id of an accepted presentation context."""
        return next(n for n, one in self._channel.contexts.items() if one is context)

    def goes_on(self) -> bool:
        """Tell whether the requestor has said something meanwhile, or ended the association.

        Raises:
            PeerGone: closed or reset.
            ProtocolError: it is to be aborted.
        """
        return self._channel.look() is not None

    def answer_if_any(self, message_id: int, *, seconds: float) -> Command | None:
        """Wait for the answer to a request of ours; None when the requestor does something else.

        Whatever else comes stays to be received. Nothing of the requestor's may be under way.

        Raises:
            PeerGone: closed, reset, or silent for so long.
            ProtocolError: it is to be aborted.
        """
        event = self._channel.receive(Deadline(_monotonic() + seconds))
        if isinstance(event, Message):
            command = event.command
            if command.is_response and command.message_id == message_id:
                self.tally.heard(command)
                return command
        self._channel.put_back(event)
        return None

    def response(self, message_id: int) -> Command:
        """Wait for the answer to a request of ours.

        Raises:
            PeerGone: closed, reset, aborted, or silent for too long.
            ProtocolError: something else came.
        """
        patience = Deadline(_monotonic() + ANSWER_SECONDS)
        while True:
            event = self._channel.receive(patience)
            if isinstance(event, ControlPdu):
                if event.kind is PduKind.ABORT:
                    raise PeerGone("aborted-by-peer")
                raise ProtocolError("unexpected-pdu", AbortReason.UNEXPECTED_PDU)
            if self._is_answer(event, message_id):
                self.tally.heard(event.command)
                return event.command

    def _is_answer(self, message: Message, message_id: int) -> bool:
        command = message.command
        if command.is_response and command.message_id == message_id:
            return True
        if command.is_response or command.field != CommandField.C_CANCEL:
            raise ProtocolError("unexpected-message", AbortReason.UNEXPECTED_PDU)
        self.cancelled.add(command.message_id)
        return False

    def is_quiet(self) -> bool:
        """Tell whether the requestor has said nothing since its last message."""
        return self._channel.is_quiet()
