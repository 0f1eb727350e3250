"""The messages of one open association, at either end. It blocks, and it belongs to one thread."""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse.connection import Connection, PeerGone
from darkroom_common.dimse.wire.association_items import Context
from darkroom_common.dimse.wire.messages import Assembler, Message, OpenSink
from darkroom_common.dimse.wire.pdu import ControlPdu, encode_data

MAX_LENGTH: Final = 131_072
"""The longest P-DATA-TF that we offer to take, and that we send to a peer that takes any."""
_LEAST_BYTES: Final = 1024
"""What a peer must send within a stall limit while it owes the rest of a PDU."""


class Patience(Protocol):
    """How long is waited for the next bytes."""

    def until(self, *, within_pdu: bool) -> float:
        """Return the deadline of the next read, on the monotonic clock."""
        ...

    def count(self, size: int) -> None:
        """Take note of bytes that have come.

        Raises:
            PeerGone: that was too slow.
        """
        ...


class Deadline:
    """Patience until some moment on the monotonic clock."""

    def __init__(self, at: float) -> None:
        self._at = at

    def until(self, *, within_pdu: bool) -> float:  # noqa: ARG002 - the interface
        """See `Patience`."""
        return self._at

    def count(self, size: int) -> None:
        """See `Patience`."""


class Pace:
    """Patience with a peer that may be silent, but not in the middle of a PDU.

    Args:
        stall: seconds within a PDU.
        idle: seconds between PDUs.
    """

    def __init__(self, stall: float, idle: float) -> None:
        self._stall = stall
        self._idle = idle
        self._since, self._bytes = SYSTEM_CLOCK.monotonic(), 0
        self._within = False

    def until(self, *, within_pdu: bool) -> float:
        """See `Patience`."""
        self._within = within_pdu
        return SYSTEM_CLOCK.monotonic() + (self._stall if within_pdu else self._idle)

    def count(self, size: int) -> None:
        """See `Patience`."""
        now = SYSTEM_CLOCK.monotonic()
        if not self._within:
            self._since, self._bytes = now, 0
        elif now - self._since > self._stall:
            if self._bytes < _LEAST_BYTES:
                raise PeerGone("too-slow")
            self._since, self._bytes = now, 0
        self._bytes += size


class Channel:
    """Whole messages in and out.

    Args:
        connection: on which an association was accepted.
        contexts: accepted ones, by id.
        open_sink: says where the data set of a command goes.
        takes: of the P-DATA-TF that the peer takes; 0 means any.
        max_length: of the P-DATA-TF that we take.

    Attributes:
        heard_at: when the last bytes came, on the monotonic clock.
    """

    def __init__(
        self,
        connection: Connection,
        contexts: Mapping[int, Context],
        open_sink: OpenSink,
        *,
        takes: int,
        max_length: int = MAX_LENGTH,
    ) -> None:
        self.connection = connection
        self.contexts = contexts
        self.takes = takes
        self.assembler = Assembler(contexts, max_length, open_sink)
        self.heard_at = SYSTEM_CLOCK.monotonic()
        self._arrived: Iterator[Message | ControlPdu] = iter(())
        self._seen: list[Message | ControlPdu] = []

    def receive(self, patience: Patience) -> Message | ControlPdu:
        """Wait for a message, or for what ends the association.

        Raises:
            PeerGone: closed, reset, or `patience` is at its end; a message may go on after that.
            ProtocolError: the peer is to be aborted.
        """
        if self._seen:
            return self._seen.pop(0)
        while True:
            for event in self._arrived:
                return event
            within = self.assembler.within_pdu
            data = self.connection.read(patience.until(within_pdu=within))
            patience.count(len(data))
            self.heard_at = SYSTEM_CLOCK.monotonic()
            self._arrived = self.assembler.feed(data)

    def look(self) -> Message | ControlPdu | None:
        """Return what has come already without waiting; `receive` will return it, too.

        Raises:
            PeerGone: closed or reset.
            ProtocolError: the peer is to be aborted.
        """
        while not self._seen:
            for event in self._arrived:
                self._seen.append(event)
                return event
            data = self.connection.read_at_once()
            if data is None:
                return None
            self._arrived = self.assembler.feed(data)
        return self._seen[0]

    def put_back(self, event: Message | ControlPdu) -> None:
        """Have `receive` return this next: it is for somebody else."""
        self._seen.insert(0, event)

    def take_seen(self) -> None:
        """Forget what `look` has returned."""
        self._seen.clear()

    def is_quiet(self) -> bool:
        """Tell whether the peer has said nothing since the last message."""
        return not self._seen and next(self._arrived, None) is None and self.connection.is_quiet()

    def encode(self, context: int, command: bytes, data_set: bytes = b"") -> bytes:
        """Return a message as PDUs that the peer takes."""
        found = encode_data(context, is_command=True, data=command, max_length=self.takes)
        if data_set:
            found += encode_data(context, is_command=False, data=data_set, max_length=self.takes)
        return found
