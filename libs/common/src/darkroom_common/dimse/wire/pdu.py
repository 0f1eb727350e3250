"""Protocol data units of an open association, without I/O (PS3.8 section 9.3).

`PduParser` is fed bytes in pieces of any size and says what they are. Data are handed on as views
of what was fed, so that nothing is copied: use them before the buffer is used again.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from darkroom_common.errors import DarkroomError

HEAD: Final = 6
"""Bytes of the head of a PDU, and of the head of a presentation data value."""
ASSOCIATE_LIMIT: Final = 1 << 20
"""Bytes of an A-ASSOCIATE-RQ that are read."""
_CONTROL_LIMIT: Final = 1024
_PDU_HEAD: Final = struct.Struct(">BxL")
_PDV_HEAD: Final = struct.Struct(">LBB")
_PDV_OVERHEAD: Final = 2  # context id and control header count in the length of a value
_BOTH_HEADS: Final = struct.Struct(">BxLLBB")


class PduKind(IntEnum):
    """PDU types, PS3.8 table 9-11 and following."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortReason(IntEnum):
    """Reasons of an A-ABORT by the service provider, PS3.8 section 9.3.8."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


class ProtocolError(DarkroomError):
    """The peer has sent what the protocol or a limit forbids: abort. `code` is fit for a log."""

    def __init__(self, code: str, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


class Fragment(NamedTuple):
    """Some bytes of a command or data set. `last` is true with the very last bytes of it."""

    context: int
    is_command: bool
    last: bool
    data: memoryview


@dataclass(frozen=True)
class ControlPdu:
    """A whole PDU that carries no data."""

    kind: PduKind
    body: bytes


Event = Fragment | ControlPdu


class PduParser:
    """Tells the PDUs of an open association apart.

    Args:
        max_length: the length of a P-DATA-TF that was negotiated (PS3.8 annex D.1).
    """

    def __init__(self, max_length: int) -> None:
        self._limits: Mapping[int, int] = {
            PduKind.P_DATA: max_length,
            PduKind.RELEASE_RQ: _CONTROL_LIMIT,
            PduKind.RELEASE_RP: _CONTROL_LIMIT,
            PduKind.ABORT: _CONTROL_LIMIT,
        }
        self._most = max_length
        self._head = bytearray()  # a head that the pieces have cut
        self._control: PduKind | None = None
        self._body = bytearray()
        self._pdu_left = 0
        self._value_left = 0
        self._context = 0
        self._is_command = False
        self._is_last = False

    @property
    def within_pdu(self) -> bool:
        """Whether the peer owes the rest of a PDU."""
        return bool(self._head or self._pdu_left)

    def feed(self, data: memoryview) -> Iterator[Event]:
        """Yield what the next bytes are.

        Raises:
            ProtocolError: the peer is to be aborted; nothing may be fed after that.
        """
        at, size = 0, len(data)
        while at < size:
            if self._value_left:
                taken = min(self._value_left, size - at)
                self._value_left -= taken
                self._pdu_left -= taken
                last = self._is_last and not self._value_left
                yield Fragment(self._context, self._is_command, last, data[at : at + taken])
                at += taken
            elif not self._pdu_left and self._is_plain(data, at, size):
                at += 2 * HEAD
            elif self._control is not None:
                taken = min(self._pdu_left, size - at)
                self._body += data[at : at + taken]
                self._pdu_left -= taken
                at += taken
                if not self._pdu_left:
                    yield self._end_control()
            else:
                taken = min(HEAD - len(self._head), size - at)
                self._head += data[at : at + taken]
                at += taken
                if len(self._head) == HEAD:
                    yield from self._enter()

    def _is_plain(self, data: memoryview, at: int, size: int) -> bool:
        """Enter a P-DATA-TF of one value, as nearly all are, if its heads are whole and it is."""
        if self._head or size - at < 2 * HEAD:
            return False
        kind, length, value, context, control = _BOTH_HEADS.unpack_from(data, at)
        left = value - _PDV_OVERHEAD
        if kind != PduKind.P_DATA or length > self._most or length != left + HEAD or left <= 0:
            return False
        self._pdu_left = self._value_left = left
        self._context = context
        self._is_command, self._is_last = bool(control & 1), bool(control & 2)
        return True

    def _enter(self) -> Iterator[Event]:
        head = bytes(self._head)
        self._head.clear()
        if self._pdu_left:
            yield from self._enter_value(head)
            return
        kind, length = _PDU_HEAD.unpack(head)
        limit = self._limits.get(kind)
        if limit is None:
            known = kind in PduKind.__members__.values()
            reason = AbortReason.UNEXPECTED_PDU if known else AbortReason.UNRECOGNISED_PDU
            raise ProtocolError("unexpected-pdu" if known else "unknown-pdu", reason)
        if length > limit:
            raise ProtocolError("pdu-too-long", AbortReason.INVALID_PARAMETER)
        self._pdu_left = length
        if kind != PduKind.P_DATA:
            self._control = PduKind(kind)
            if not length:
                yield self._end_control()
        elif length < HEAD:
            raise ProtocolError("pdu-without-value", AbortReason.INVALID_PARAMETER)

    def _enter_value(self, head: bytes) -> Iterator[Event]:
        length, self._context, control = _PDV_HEAD.unpack(head)
        self._pdu_left -= HEAD
        self._value_left = length - _PDV_OVERHEAD
        if not 0 <= self._value_left <= self._pdu_left:
            raise ProtocolError("bad-value-length", AbortReason.INVALID_PARAMETER)
        if 0 < self._pdu_left - self._value_left < HEAD:
            raise ProtocolError("bad-value-length", AbortReason.INVALID_PARAMETER)
        self._is_command = bool(control & 1)
        self._is_last = bool(control & 2)
        if not self._value_left:
            yield Fragment(self._context, self._is_command, self._is_last, memoryview(b""))

    def _end_control(self) -> ControlPdu:
        assert self._control is not None  # noqa: S101 - the state says so
        pdu = ControlPdu(self._control, bytes(self._body))
        self._control = None
        self._body.clear()
        return pdu


def encode_release_response() -> bytes:
    """Return an A-RELEASE-RP."""
    return struct.pack(">BxLL", PduKind.RELEASE_RP, 4, 0)


def encode_release_request() -> bytes:
    """Return an A-RELEASE-RQ."""
    return struct.pack(">BxLL", PduKind.RELEASE_RQ, 4, 0)


def encode_user_abort() -> bytes:
    """Return an A-ABORT by the service user: an association that we no longer want."""
    return struct.pack(">BxLxxBB", PduKind.ABORT, 4, 0, 0)


def encode_data_head(context: int, *, last: bool, size: int) -> bytes:
    """Return the heads of a P-DATA-TF with one value: `size` bytes of a data set."""
    return _PDU_HEAD.pack(PduKind.P_DATA, size + HEAD) + _PDV_HEAD.pack(
        size + _PDV_OVERHEAD, context, 2 if last else 0
    )


def encode_abort(reason: AbortReason) -> bytes:
    """Return an A-ABORT by the service provider."""
    return struct.pack(">BxLxxBB", PduKind.ABORT, 4, 2, reason)


def encode_data(context: int, *, is_command: bool, data: bytes, max_length: int) -> bytes:
    """Return P-DATA-TF PDUs that carry a whole command or data set.

    Every fragment has an even length (PS3.8 annex E.2): what has not ends with a NUL more.

    Args:
        context: the presentation context's id.
        is_command: whether it is a command.
        data: what is carried.
        max_length: the longest PDU that the peer takes; 0 means any (PS3.8 annex D.1.1).
    """
    data += bytes(len(data) & 1)
    room = max(2, (max_length - HEAD) & ~1) if max_length else len(data) or 2
    pieces = [data[start : start + room] for start in range(0, len(data), room)] or [b""]
    encoded = []
    for number, piece in enumerate(pieces, 1):
        control = int(is_command) | (2 if number == len(pieces) else 0)
        encoded.append(_PDU_HEAD.pack(PduKind.P_DATA, len(piece) + HEAD))
        encoded.append(_PDV_HEAD.pack(len(piece) + _PDV_OVERHEAD, context, control))
        encoded.append(piece)
    return b"".join(encoded)
