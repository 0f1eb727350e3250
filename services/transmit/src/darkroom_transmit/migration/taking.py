"""Objects on their way from an archive to ingest, with the digest of what the archive has given."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.dimse.wire.command import Command, CommandField, Element
from darkroom_transmit.migration.source import AWAY
from darkroom_transmit.retrieval.dimse import Handle
from darkroom_transmit.retrieval.forwarding import Forwarder
from darkroom_transmit.sending.throttle import Throttle

PIECE: Final = 256 * 1024
Told = Callable[[str, bytes, int, int], None]


@dataclass
class Taker(Forwarder):
    """Stores at ingest what an archive gives, as fast as the throttle lets it.

    Attributes:
        told: is called with SOP instance UID, digest, bytes and ingest's status of each object.
        away: why ingest cannot be worked with at all, if so.
    """

    throttle: Throttle = field(default_factory=lambda: Throttle(None))
    told: Told = lambda *_: None
    handle: Handle = field(default_factory=Handle)
    away: str = ""
    _uid: str = ""
    _size: int = 0
    _digest: Any = None

    def begin(self, request: Command, transfer_syntax: str) -> None:
        """See `Forwarder.begin`."""
        self._uid, self._size, self._digest = request.sop_instance_uid, 0, hashlib.sha256()
        super().begin(request, transfer_syntax)

    def object(self, sop_class: str, sop_instance: str, transfer_syntax: str) -> None:
        """Begin an object that no C-STORE has brought."""
        elements: dict[int, bytes] = {
            Element.AFFECTED_SOP_CLASS: sop_class.encode("latin-1"),
            Element.AFFECTED_SOP_INSTANCE: sop_instance.encode("latin-1"),
        }
        command = Command(CommandField.C_STORE, 1, has_data_set=True, elements=elements)
        self.begin(command, transfer_syntax)

    def write(self, parts: Sequence[memoryview]) -> None:
        """See `Forwarder.write`."""
        for part in parts:
            self._digest.update(part)
            self._size += len(part)
            if wait := self.throttle.reserve(len(part)):
                self.handle.stop.wait(wait)
        super().write(parts)

    def end(self) -> int:
        """See `Forwarder.end`."""
        status = super().end()
        self.told(self._uid, self._digest.digest(), self._size, status)
        return status

    def _fail(self, pair: tuple[str, str] | None, fault: PeerFault) -> None:
        super()._fail(pair, fault)
        if fault.reason in AWAY:
            self.away = fault.reason
            self.handle.stop.set()

    def check(self) -> None:
        """Say that ingest is away, if it is.

        Raises:
            PeerFault: it is.
        """
        if self.away:
            raise PeerFault("ConnectionRefused", "ingest takes nothing now")
