"""Fragments put together to messages, without I/O (PS3.7 section 6.3, PS3.8 annex E).

A command is whole before anything is done with it; where its data set goes is decided then, and its
bytes go there as they come, as views of what was read: nothing is copied on the way.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from darkroom_common.dimse.wire.command import COMMAND_LIMIT, Command, decode_command
from darkroom_common.dimse.wire.pdu import AbortReason, ControlPdu, PduParser, ProtocolError


class Sink(Protocol):
    """Where the bytes of one data set go."""

    def write(self, parts: Sequence[memoryview]) -> None:
        """Take the next bytes; they are not to be looked at after the return.

        Raises:
            ProtocolError: it is too much.
        """
        ...

    def abandon(self) -> None:
        """Forget it: the last byte will not come."""
        ...


class InMemory:
    """A data set that is small.

    Args:
        limit: bytes that are taken.
    """

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self._limit = limit

    def write(self, parts: Sequence[memoryview]) -> None:
        """See `Sink`."""
        if len(self.data) + sum(map(len, parts)) > self._limit:
            raise ProtocolError("message-too-long", AbortReason.INVALID_PARAMETER)
        for part in parts:
            self.data += part

    def abandon(self) -> None:
        """See `Sink`."""


class Ignored:
    """A data set that nobody wants."""

    def write(self, parts: Sequence[memoryview]) -> None:
        """See `Sink`."""

    def abandon(self) -> None:
        """See `Sink`."""


@dataclass(frozen=True)
class Message:
    """A message that has come whole.

    Attributes:
        context: presentation context id.
        sink: what has its data set; None without one.
    """

    context: int
    command: Command
    sink: Sink | None

    @property
    def data_set(self) -> bytes:
        """Its data set, if it is in memory."""
        return bytes(self.sink.data) if isinstance(self.sink, InMemory) else b""


OpenSink = Callable[[int, Command], Sink]
"""Says for a context id and a command where the data set goes."""


class Assembler:
    """Puts the fragments of one direction of an association together.

    Args:
        contexts: ids that were accepted.
        max_length: of the P-DATA-TF that we take.
        open_sink: is asked for each data set, before its first byte.
    """

    def __init__(self, contexts: Container[int], max_length: int, open_sink: OpenSink) -> None:
        self.open_sink = open_sink
        self._contexts = contexts
        self._parser = PduParser(max_length)
        self._bytes = bytearray()
        self._context = 0
        self._command: Command | None = None  # the one whose data set is awaited
        self._sink: Sink | None = None

    @property
    def within_pdu(self) -> bool:
        """Whether the peer owes the rest of a PDU."""
        return self._parser.within_pdu

    def feed(self, data: memoryview) -> Iterator[Message | ControlPdu]:
        """Yield what is whole with these bytes. Go to the end before the next call.

        Raises:
            ProtocolError: the peer is to be aborted; nothing may be fed after that.
        """
        parts: list[memoryview] = []
        for event in self._parser.feed(data):
            if isinstance(event, ControlPdu):
                yield event
            elif event.is_command:
                command = self._take_command(event.context, event.data, last=event.last)
                if command is not None:
                    yield Message(self._context, command, None)
            else:
                sink, command = self._sink, self._command
                if sink is None or command is None or event.context != self._context:
                    raise ProtocolError("data-set-without-command", AbortReason.UNEXPECTED_PDU)
                if event.data:
                    parts.append(event.data)
                if event.last:
                    if parts:
                        sink.write(parts)
                        parts = []
                    self._command = self._sink = None
                    yield Message(self._context, command, sink)
        if parts and self._sink is not None:
            self._sink.write(parts)

    def _take_command(self, context: int, data: memoryview, *, last: bool) -> Command | None:
        """Return the command, if it is whole and nothing follows it."""
        if self._command is not None:
            raise ProtocolError("command-within-data-set", AbortReason.UNEXPECTED_PDU)
        if context not in self._contexts or (self._bytes and context != self._context):
            raise ProtocolError("context-not-accepted", AbortReason.INVALID_PARAMETER)
        self._context = context
        if len(self._bytes) + len(data) > COMMAND_LIMIT:
            raise ProtocolError("command-too-long", AbortReason.INVALID_PARAMETER)
        self._bytes += data
        if not last:
            return None
        command = decode_command(self._bytes)
        self._bytes.clear()
        if not command.has_data_set:
            return command
        self._command, self._sink = command, self.open_sink(context, command)
        return None

    def abandon(self) -> None:
        """The association has ended: forget the data set that has not come to its end."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abandon()
