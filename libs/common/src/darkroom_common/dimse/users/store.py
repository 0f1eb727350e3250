"""A data set of a file as a C-STORE: file to socket by scatter reads between ready-made PDU heads.

A buffer of about 1 MiB holds the heads of its P-DATA-TF PDUs at fixed places; one `preadv` puts the
data set between them and one `send` hands all of it to the kernel. While the peer works on one
object, the beginning of the next is read into the buffer. See docs/adr/0010.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from darkroom_common.dimse.wire.command import CommandField, Element, Value, encode_command
from darkroom_common.dimse.wire.pdu import HEAD, encode_data, encode_data_head

_BUFFER: Final = 1 << 20
_MOST_PIECES: Final = 1000  # of one preadv; the system's limit is 1024
_HEADS: Final = 2 * HEAD


class DataSetFile(Protocol):
    """A data set that stands in a file, from `offset` on for `size` bytes."""

    @property
    def path(self) -> str | Path:
        """Of the file."""
        ...

    @property
    def offset(self) -> int:
        """Bytes before the data set."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the data set."""
        ...

    @property
    def sop_class_uid(self) -> str:
        """Of the data set."""
        ...

    @property
    def sop_instance_uid(self) -> str:
        """Of the data set."""
        ...


class Unsendable(Exception):
    """The object's file cannot be read as the index says. `reason` is a word for jobs and logs.

    Attributes:
        transient: it may be readable later.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.transient = transient


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
            raise Unsendable("StoreUnavailable", transient=True) from error
        if not complete:
            raise Unsendable("ObjectDamaged")
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
class Opened:
    """A data set whose first bytes are in the buffer."""

    source: DataSetFile
    descriptor: int
    context: int
    first: memoryview
    done: int


Put = Callable[[bytes, memoryview], None]
"""Sends a command, which may be empty, and PDUs of the data set that follow it."""


class StoreEncoder:
    """Turns one data set after the other into C-STOREs; it belongs to one thread.

    Args:
        max_length: of the P-DATA-TF that the peer takes.
    """

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._staging = Staging(max_length)

    def open(self, source: DataSetFile, context: int) -> Opened:
        """Return a data set ready to go; its descriptor is the caller's to close.

        The one before must have gone.

        Raises:
            Unsendable: it cannot be read.
        """
        descriptor = open_file(source)
        size = min(source.size, self._staging.capacity)
        try:
            first = self._staging.fill(
                descriptor, source.offset, size, context, last=size == source.size
            )
        except Unsendable:
            os.close(descriptor)
            raise
        return Opened(source, descriptor, context, first, size)

    def transfer(self, opened: Opened, elements: Mapping[int, Value], put: Put) -> None:
        """Send a C-STORE (PS3.7 section 9.3.1.1).

        Args:
            opened: by `open`, the last one.
            elements: of the command, beside the SOP class and the SOP instance.
            put: sends.

        Raises:
            Unsendable: in the middle of it; what was sent cannot be taken back.
        """
        source = opened.source
        values: dict[int, Value] = {
            Element.AFFECTED_SOP_CLASS: source.sop_class_uid,
            Element.AFFECTED_SOP_INSTANCE: source.sop_instance_uid,
            **elements,
        }
        command = encode_data(
            opened.context,
            is_command=True,
            data=encode_command(CommandField.C_STORE, values, data_set=True),
            max_length=self._max_length,
        )
        put(command, opened.first)
        done = opened.done
        while done < source.size:
            size = min(source.size - done, self._staging.capacity)
            chunk = self._staging.fill(
                opened.descriptor,
                source.offset + done,
                size,
                opened.context,
                last=done + size == source.size,
            )
            put(b"", chunk)
            done += size


def open_file(source: DataSetFile) -> int:
    """Return a descriptor of a source's file.

    Raises:
        Unsendable: it is missing, cannot be read, or is shorter than it should be.
    """
    try:
        descriptor = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Unsendable("ObjectMissing") from error
    except OSError as error:
        raise Unsendable("StoreUnavailable", transient=True) from error
    if os.fstat(descriptor).st_size < source.offset + source.size:
        os.close(descriptor)
        raise Unsendable("ObjectDamaged")
    return descriptor
