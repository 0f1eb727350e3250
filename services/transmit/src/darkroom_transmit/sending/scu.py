"""C-STORE as SCU, the hot path: file to socket by scatter reads between ready-made PDU heads.

A buffer of about 1 MiB holds the heads of its P-DATA-TF PDUs at fixed places; one `preadv` puts the
data set between them and one `send` hands all of it to the kernel. While the peer works on one
object, the beginning of the next is read into the buffer. See docs/adr/0010.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from darkroom_common.dimse.requestor import Association, PeerFault
from darkroom_common.dimse.wire.command import CommandField, Element, encode_command
from darkroom_common.dimse.wire.pdu import HEAD, encode_data, encode_data_head
from darkroom_transmit.sending.outcome import Outcome, Verdict, classify
from darkroom_transmit.sending.sources import Source
from darkroom_transmit.sending.throttle import PIECE, Throttle

_BUFFER: Final = 1 << 20
_MOST_PIECES: Final = 1000  # of one preadv; the system's limit is 1024
_HEADS: Final = 2 * HEAD
Tell = Callable[[Source, Outcome], None]


class Unsendable(Exception):
    """The object's file cannot be read as the index says."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Staging:
    """A buffer with the heads of PDUs in place.

    Args:
        max_length: of the P-DATA-TF that the peer takes.
    """

    def __init__(self, max_length: int) -> None:
        self._room = max(2, (max_length - HEAD) & ~1)
        self._frame = _HEADS + self._room
        count = max(1, min(_MOST_PIECES, _BUFFER // self._frame))
        self._bytes = bytearray(count * self._frame)
        self._view = memoryview(self._bytes)
        self._slots = [
            self._view[n * self._frame + _HEADS : (n + 1) * self._frame] for n in range(count)
        ]
        self._context = -1
        self._special: int | None = None  # the slot whose head is not like the others

    @property
    def capacity(self) -> int:
        """Bytes of a data set that fit at once."""
        return len(self._slots) * self._room

    def fill(
        self, descriptor: int, offset: int, size: int, context: int, *, last: bool
    ) -> memoryview:
        """Read `size` bytes of a file and return them as PDUs; only the last may be short.

        Every fragment has an even length (PS3.8 annex E.2): an odd data set ends with a NUL more.

        Raises:
            Unsendable: the file ends before, or cannot be read.
        """
        slots = self._slots[: -(-size // self._room) or 1]
        short = size - (len(slots) - 1) * self._room
        places = [*slots[:-1], slots[-1][:short]]
        try:
            complete = not size or os.preadv(descriptor, places, offset) == size
        except OSError as error:
            raise Unsendable(Outcome(Verdict.RETRY, "StoreUnavailable")) from error
        if not complete:
            raise Unsendable(Outcome(Verdict.FAILED, "ObjectDamaged"))
        if odd := size & 1:
            slots[-1][short] = 0  # there is room: it has an even length
        self._write_heads(context, len(slots) - 1, short + odd, last=last)
        return self._view[: len(slots) * _HEADS + size + odd]

    def _write_heads(self, context: int, final: int, short: int, *, last: bool) -> None:
        usual = encode_data_head(context, last=False, size=self._room)
        if context != self._context:
            for n in range(len(self._slots)):
                self._put(n, usual)
        elif self._special is not None:
            self._put(self._special, usual)
        self._context = context
        self._special = final
        self._put(final, encode_data_head(context, last=last, size=short))

    def _put(self, slot: int, head: bytes) -> None:
        at = slot * self._frame
        self._bytes[at : at + _HEADS] = head


@dataclass
class _Opened:
    """A source whose first bytes are in the buffer."""

    source: Source
    descriptor: int
    context: int
    first: memoryview
    done: int


class StoreUser:
    """Sends data sets over one association; it belongs to one thread.

    Args:
        association: open.
        throttle: of the destination.
        priority: of the C-STORE: 0 medium, 1 high, 2 low.

    Attributes:
        under_way: the data set that was begun and is not answered.
    """

    def __init__(self, association: Association, throttle: Throttle, *, priority: int = 0) -> None:
        self._association = association
        self._throttle = throttle
        self._priority = priority
        self._staging = Staging(association.max_length)
        self.under_way: tuple[Source, ...] = ()

    def send(self, sources: Sequence[Source], tell: Tell, stop: threading.Event) -> None:
        """Send one after the other and tell what became of each, until `stop` is set.

        After an answer that asks for patience nothing more is sent: the others would hear the same.

        Raises:
            PeerFault: the association is of no use any more; what was not told is not known.
        """
        opened: _Opened | None = None
        try:
            for number, source in enumerate(sources):
                if stop.is_set():
                    return
                opened = opened or self._open(source, tell)
                if opened is None:
                    continue
                self.under_way = (source,)
                message_id = self._transfer(opened)
                current, opened = opened, None
                os.close(current.descriptor)
                if number + 1 < len(sources) and not stop.is_set():
                    opened = self._open(sources[number + 1], tell)
                response = self._association.response(message_id)
                outcome = classify(response.command.status, source.transfer_syntax_uid)
                tell(source, outcome)
                if outcome.verdict is Verdict.RETRY:
                    return
        finally:
            if opened is not None:
                os.close(opened.descriptor)

    def _open(self, source: Source, tell: Tell) -> _Opened | None:
        """Return a source ready to go; None when it was told that it cannot."""
        pair = source.sop_class_uid, source.transfer_syntax_uid
        context = self._association.accepted.get(pair)
        if context is None:
            tell(source, Outcome(Verdict.FAILED, self._association.why_not(*pair)))
            return None
        try:
            descriptor = open_file(source)
        except Unsendable as error:
            tell(source, error.outcome)
            return None
        size = min(source.size, self._staging.capacity)
        try:
            first = self._staging.fill(
                descriptor, source.offset, size, context, last=size == source.size
            )
        except Unsendable as error:
            os.close(descriptor)
            tell(source, error.outcome)
            return None
        return _Opened(source, descriptor, context, first, size)

    def _transfer(self, opened: _Opened) -> int:
        source, association = opened.source, self._association
        message_id = association.next_message_id()
        command = encode_data(
            opened.context,
            is_command=True,
            data=encode_command(
                CommandField.C_STORE,
                {
                    Element.AFFECTED_SOP_CLASS: source.sop_class_uid,
                    Element.MESSAGE_ID: message_id,
                    Element.PRIORITY: self._priority,
                    Element.AFFECTED_SOP_INSTANCE: source.sop_instance_uid,
                },
                data_set=True,
            ),
            max_length=association.max_length,
        )
        deadline = association.deadline_for(source.size)
        if self._throttle.rate is not None:
            deadline += source.size / self._throttle.rate * 2
        self._put(command, opened.first, deadline=deadline)
        done = opened.done
        while done < source.size:
            size = min(source.size - done, self._staging.capacity)
            try:
                chunk = self._staging.fill(
                    opened.descriptor,
                    source.offset + done,
                    size,
                    opened.context,
                    last=done + size == source.size,
                )
            except Unsendable as error:  # what was sent of it cannot be taken back
                raise PeerFault(error.outcome.reason, "in the middle of an object") from error
            self._put(b"", chunk, deadline=deadline)
            done += size
        return message_id

    def _put(self, command: bytes, chunk: memoryview, *, deadline: float) -> None:
        if self._throttle.rate is None:
            self._association.send(command, chunk, deadline=deadline)
            return
        if command:
            self._association.send(command, deadline=deadline)
        for start in range(0, len(chunk), PIECE):
            piece = chunk[start : start + PIECE]
            time.sleep(self._throttle.reserve(len(piece)))
            self._association.send(piece, deadline=deadline)


def open_file(source: Source) -> int:
    """Return a descriptor of a source's file.

    Raises:
        Unsendable: it is missing, cannot be read, or is shorter than it should be.
    """
    try:
        descriptor = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Unsendable(Outcome(Verdict.FAILED, "ObjectMissing")) from error
    except OSError as error:
        raise Unsendable(Outcome(Verdict.RETRY, "StoreUnavailable")) from error
    if os.fstat(descriptor).st_size < source.offset + source.size:
        os.close(descriptor)
        raise Unsendable(Outcome(Verdict.FAILED, "ObjectDamaged"))
    return descriptor
