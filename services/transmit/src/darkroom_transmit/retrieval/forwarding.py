"""Objects of a C-GET on their way to ingest: piece by piece, answered as ingest answers them.

Only what ingest has made durable is answered with success, so that nothing is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse.requestor import Association, Peer, PeerFault, associate
from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.command import Command, CommandField, Element, encode_command
from darkroom_common.dimse.wire.pdu import HEAD, encode_data_head
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_MOST: Final = 8
"""Associations with ingest that are open at a time, one for each SOP class and syntax."""


@dataclass
class Forwarder:
    """Stores at ingest; it belongs to one thread."""

    ingest: Peer
    _open: dict[tuple[str, str], Association] = field(default_factory=dict)
    _current: Association | None = None
    _context: int = 0
    _message_id: int = 0
    _odd: bytes = b""
    _status: int = StoreStatus.REFUSED_OUT_OF_RESOURCES

    def begin(self, request: Command, transfer_syntax: str) -> None:
        """Begin an object. What fails is its status."""
        self._current, self._odd = None, b""
        self._status = StoreStatus.REFUSED_OUT_OF_RESOURCES
        pair = request.sop_class_uid, transfer_syntax
        try:
            association = self._association(pair)
            context = association.accepted.get(pair)
            if context is None:
                self._status = StoreStatus.SOP_CLASS_NOT_SUPPORTED
                return
            self._context = context
            self._message_id = association.next_message_id()
            command = encode_command(
                CommandField.C_STORE,
                {
                    Element.AFFECTED_SOP_CLASS: request.sop_class_uid,
                    Element.MESSAGE_ID: self._message_id,
                    Element.PRIORITY: 0,
                    Element.AFFECTED_SOP_INSTANCE: request.sop_instance_uid,
                },
                data_set=True,
            )
            association.ask(context, command)
            self._current = association
        except PeerFault as fault:
            self._fail(pair, fault)

    def _association(self, pair: tuple[str, str]) -> Association:
        known = self._open.pop(pair, None)
        if known is not None and not known.is_alive():
            known.abort()
            known = None
        if known is None:
            while len(self._open) >= _MOST:
                self._open.pop(next(iter(self._open))).release()
            known = associate(self.ingest, [Proposal(pair[0], (pair[1],))])
        self._open[pair] = known
        return known

    def write(self, parts: Sequence[memoryview]) -> None:
        """Take the next bytes of the object."""
        association = self._current
        if association is None:
            return
        room = max(2, (association.max_length - HEAD) & ~1)
        try:
            for part in parts:
                data = part
                if self._odd and data:  # fragments have an even length, PS3.8 annex E.2
                    self._send(association, memoryview(self._odd + data[:1]), last=False)
                    self._odd, data = b"", data[1:]
                even = len(data) & ~1
                self._odd = self._odd + bytes(data[even:])
                for at in range(0, even, room):
                    self._send(association, data[at : min(at + room, even)], last=False)
        except PeerFault as fault:
            self._fail(None, fault)

    def abandon(self) -> None:
        """The rest of the object will not come: ingest must not take it for whole."""
        self._fail(None, PeerFault("ConnectionLost"))

    def _send(self, association: Association, piece: memoryview, *, last: bool) -> None:
        head = encode_data_head(self._context, last=last, size=len(piece))
        deadline = SYSTEM_CLOCK.monotonic() + association.peer.answer_seconds
        association.send(head, piece, deadline=deadline)

    def end(self) -> int:
        """Return what ingest has answered, or why it could not."""
        association, self._current = self._current, None
        if association is None:
            return self._status
        try:
            self._send(association, memoryview(self._odd + bytes(len(self._odd))), last=True)
            return association.response(self._message_id).command.status
        except PeerFault as fault:
            self._current = association
            self._fail(None, fault)
            return self._status

    def _fail(self, pair: tuple[str, str] | None, fault: PeerFault) -> None:
        log.warning("retrieve.not_taken", reason=fault.reason)
        if fault.reason == "RejectedPermanent":
            self._status = StoreStatus.REFUSED_NOT_AUTHORISED
        broken = self._current or (self._open.get(pair) if pair else None)
        self._current = None
        for key, one in list(self._open.items()):
            if one is broken:
                self._open.pop(key).abort()

    def close(self) -> None:
        """Release what is open."""
        for one in self._open.values():
            one.release()
        self._open.clear()
