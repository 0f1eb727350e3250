"""Blocks of MLLP (HL7 v2 transport, release 1), without I/O: <VT> message <FS> <CR>."""

from typing import Final

from darkroom_common.errors import PermanentError

START: Final = b"\x0b"
END: Final = b"\x1c\x0d"
_STRAY: Final = 4096
"""Bytes between two blocks, at most: what sends more speaks another protocol."""


class NoBlock(PermanentError):
    """What has come is no block of MLLP. The text is a word for the log."""


class Blocks:
    """Cuts what comes into messages.

    Args:
        most: bytes of one message.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._got = bytearray()
        self._stray = 0
        self._open = False
        self._seen = 0

    @property
    def within(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._open

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._got += data

    def next(self) -> bytes | None:
        """Return the next whole message; None: it has not come yet.

        Raises:
            NoBlock: there is none to come.
        """
        if not self._open and not self._begin():
            return None
        end = self._got.find(END, max(0, self._seen - 1))
        # One that begins anew has given up the one before, of which no end came.
        again = self._got.rfind(START, 0, None if end < 0 else end)
        if again >= 0:
            del self._got[: again + 1]
            self._seen = 0
            end = self._got.find(END)
        if max(end, 0) > self._most or (end < 0 and len(self._got) > self._most):
            raise NoBlock("too-long")
        if end < 0:
            self._seen = len(self._got)
            return None
        message = bytes(self._got[:end])
        del self._got[: end + len(END)]
        self._open = False
        return message

    def _begin(self) -> bool:
        at = self._got.find(START)
        stray = len(self._got) if at < 0 else at
        self._stray += len(self._got[:stray].strip(b"\r\n \0"))
        if self._stray > _STRAY:
            raise NoBlock("no-block")
        del self._got[: stray if at < 0 else at + 1]
        if at < 0:
            return False
        self._open, self._stray, self._seen = True, 0, 0
        return True


def block(message: bytes) -> bytes:
    """Return a message as a block."""
    return START + message + END
