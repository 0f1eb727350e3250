"""Parts of files on their way to a socket: the kernel takes them from memory, without a copy."""

import asyncio
import ctypes
import os
import socket
from collections.abc import Callable
from typing import Final

from darkroom_common.objects.cached import is_in_memory

_SEND: Final = ctypes.CDLL(None, use_errno=True).send
_SEND.restype = ctypes.c_ssize_t
_SEND.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
_MORE: Final = socket.MSG_MORE | socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Outlet:
    """Sends to a socket beside the transport that has it, while that has nothing to send.

    Args:
        descriptor: of the socket.

    Attributes:
        waits: whether something waits for room in the socket.
    """

    def __init__(self, descriptor: int) -> None:
        self.waits = False
        self._descriptor = descriptor
        self._watched: int | None = None
        self._room = asyncio.Event()
        self._closed = False

    async def send(
        self, head: bytes, file: int, offset: int, count: int, went: Callable[[int], None]
    ) -> bytes:
        """Send bytes, and behind them a part of a file that is in memory.

        Args:
            head: the bytes.
            file: its descriptor.
            offset: of the part.
            count: bytes of it.
            went: is told how many bytes have gone, each time that some have.

        Returns:
            What is left for the transport: all that follows a byte that is not in memory any more,
            or an error of the socket, which the transport finds, too.

        Raises:
            EOFError: the file is shorter than it was.
        """
        at, end = 0, len(head) + count
        while at < end and not self._closed:
            begin = max(0, at - len(head))
            try:
                if at < len(head):
                    some = _sent(self._descriptor, head[at:])
                else:
                    some = os.sendfile(self._descriptor, file, offset + begin, count - begin)
            except BlockingIOError:
                await self._has_room()
                if is_in_memory(file, offset + begin, count - begin) or self._closed:
                    continue
                read = await asyncio.to_thread(os.pread, file, count - begin, offset + begin)
                return head[at:] + read
            except OSError:
                return head[at:] + os.pread(file, count - begin, offset + begin)
            if not some:
                raise EOFError("a file is shorter than it was")
            at += some
            went(some)
        return b""

    async def _has_room(self) -> None:
        """Wait until the socket takes more, or is closed."""
        loop = asyncio.get_running_loop()
        if self._watched is None:
            self._watched = os.dup(self._descriptor)  # the loop watches the other for its transport
        self._room.clear()
        self.waits = True
        loop.add_writer(self._watched, self._room.set)
        try:
            await self._room.wait()
        finally:
            self.waits = False
            if self._watched is not None:
                loop.remove_writer(self._watched)

    def close(self) -> None:
        """Hear that the connection is gone."""
        self._closed = True
        if self._watched is not None:
            asyncio.get_running_loop().remove_writer(self._watched)
            os.close(self._watched)
            self._watched = None
        self._room.set()


def _sent(descriptor: int, head: bytes) -> int:
    """Return how many bytes a socket has taken, which more will follow.

    Raises:
        OSError: none; BlockingIOError: there is no room.
    """
    sent = int(_SEND(descriptor, head, len(head), _MORE))
    if sent < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return sent
