"""Associations as requestor: connect, negotiate, ask, release (PS3.8 section 9.3).

Everything blocks and everything ends: an association belongs to the thread that uses it, and every
connect, read and write has a time limit. What the peer does wrong is one of the `PeerFault`s.
"""

import select
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from darkroom_common.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from darkroom_common.dimse.contexts import VERIFICATION
from darkroom_common.dimse.negotiation import APPLICATION_CONTEXT
from darkroom_common.dimse.proposal import Proposal
from darkroom_common.dimse.tls import BadCertificate, TlsClient
from darkroom_common.dimse.wire.command import (
    COMMAND_LIMIT,
    Response,
    decode_response,
    encode_echo_request,
    has_data_set,
)
from darkroom_common.dimse.wire.pdu import (
    ASSOCIATE_LIMIT,
    HEAD,
    AbortReason,
    ControlPdu,
    Fragment,
    PduKind,
    PduParser,
    ProtocolError,
    encode_data,
    encode_release_request,
    encode_release_response,
    encode_user_abort,
)
from darkroom_common.errors import DarkroomError
from darkroom_common.specs.destinations import Tls

MAX_PDU: Final = 131_072
"""The longest P-DATA-TF that we offer to take, and that we send to a peer that takes any."""
IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
_MOST_CONTEXTS: Final = 128  # odd ids of one byte, PS3.8 section 9.3.2.2
_BUFFER: Final = 1 << 16
_RELEASE_SECONDS: Final = 5.0
_LEAST_RATE: Final = 4096.0
"""Bytes a second; a peer that takes less has stopped, for all we can wait."""
_FIXED: Final = 68
_ITEM: Final = struct.Struct(">BxH")
_TRANSIENT: Final = 2
_RESULT_ITEM: Final = 0x21
_SYNTAX_ITEM: Final = 0x40
_USER_ITEM: Final = 0x50
_LENGTH_ITEM: Final = 0x51
_NO_TRANSFER_SYNTAX: Final = 4


class PeerFault(DarkroomError):
    """The peer cannot be worked with now. `reason` is a word for jobs, logs and metrics.

    Attributes:
        transient: trying again later may help.
    """

    def __init__(self, reason: str, detail: str = "", *, transient: bool = True) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.transient = transient


@dataclass(frozen=True)
class Peer:
    """Whom to call, and with which patience."""

    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str
    connect_seconds: float = 10.0
    answer_seconds: float = 60.0
    tls: ssl.SSLContext | None = None
    server_name: str = ""


def tls_context(files: TlsClient, asked: Tls) -> ssl.SSLContext:
    """Return what connections to a peer are made with.

    Raises:
        PeerFault: certificates cannot be used.
    """
    try:
        return files.context(asked)
    except BadCertificate as error:
        raise PeerFault("BadCertificate", str(error), transient=False) from error


@dataclass(frozen=True)
class ReceivedMessage:
    """A message as it came."""

    context: int
    command: bytes
    data_set: bytes


class MessageAssembler:
    """Puts the fragments of messages together, one message after the other.

    Args:
        data_limit: bytes of a data set that are taken.
    """

    def __init__(self, data_limit: int) -> None:
        self._data_limit = data_limit
        self._command = bytearray()
        self._data_set = bytearray()
        self._owes_data = False

    def take(self, event: Fragment) -> ReceivedMessage | None:
        """Return the message that this fragment completes, if it does.

        Raises:
            ProtocolError: too long, or out of order.
        """
        if event.is_command is self._owes_data:
            raise ProtocolError("fragment-out-of-order", AbortReason.UNEXPECTED_PDU)
        into, limit = (
            (self._command, COMMAND_LIMIT)
            if event.is_command
            else (self._data_set, self._data_limit)
        )
        if len(into) + len(event.data) > limit:
            raise ProtocolError("message-too-long", AbortReason.INVALID_PARAMETER)
        into += event.data
        if not event.last:
            return None
        if event.is_command and has_data_set(self._command):
            self._owes_data = True
            return None
        message = ReceivedMessage(event.context, bytes(self._command), bytes(self._data_set))
        self._command.clear()
        self._data_set.clear()
        self._owes_data = False
        return message


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def encode_associate_request(peer: Peer, contexts: Mapping[int, Proposal]) -> bytes:
    """Return the A-ASSOCIATE-RQ (PS3.8 section 9.3.2)."""
    offered = b"".join(
        _item(
            0x20,
            struct.pack(">Bxxx", number)
            + _item(0x30, proposal.abstract_syntax.encode())
            + b"".join(_item(0x40, uid.encode()) for uid in proposal.transfer_syntaxes),
        )
        for number, proposal in contexts.items()
    )
    user = (
        _item(0x51, struct.pack(">L", MAX_PDU))
        + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
        + b"".join(
            _item(0x54, struct.pack(">H", len(uid)) + uid.encode() + b"\x00\x01")
            for uid in dict.fromkeys(one.abstract_syntax for one in contexts.values() if one.as_scp)
        )
        + _item(0x55, IMPLEMENTATION_VERSION_NAME.encode())
    )
    body = (
        struct.pack(">Hxx", 1)
        + peer.called_ae_title.encode("latin-1").ljust(16)
        + peer.calling_ae_title.encode("latin-1").ljust(16)
        + bytes(32)
        + _item(0x10, APPLICATION_CONTEXT.encode())
        + offered
        + _item(0x50, user)
    )
    return struct.pack(">BxL", PduKind.ASSOCIATE_RQ, len(body)) + body


def decode_associate_accept(body: bytes) -> tuple[dict[int, tuple[int, str]], int]:
    """Return ((result, transfer syntax) by context id, longest P-DATA-TF that it takes).

    Raises:
        ProtocolError: it cannot be read.
    """
    results: dict[int, tuple[int, str]] = {}
    max_length = 0
    for kind, value in _items(body[_FIXED:]):
        if kind == _RESULT_ITEM and len(value) >= 4:  # noqa: PLR2004 - PS3.8 table 9-18
            syntax = next((uid for inner, uid in _items(value[4:]) if inner == _SYNTAX_ITEM), b"")
            results[value[0]] = value[2], syntax.decode("latin-1").strip("\x00 ")
        elif kind == _USER_ITEM:
            for inner, field in _items(value):
                if inner == _LENGTH_ITEM and len(field) == 4:  # noqa: PLR2004
                    max_length = int.from_bytes(field, "big")
    return results, max_length


def _items(data: bytes) -> Iterable[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if at + _ITEM.size > len(data):
            raise ProtocolError("bad-accept")
        kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        if at + length > len(data):
            raise ProtocolError("bad-accept")
        yield kind, data[at : at + length]
        at += length


class Association:
    """An open association of ours; made by `associate`.

    Attributes:
        accepted: context id by (abstract syntax, transfer syntax).
        contexts: (abstract syntax, transfer syntax) by context id.
        max_length: of the P-DATA-TF that the peer takes.
    """

    def __init__(
        self, peer: Peer, plain: socket.socket, contexts: Mapping[int, Proposal], answer: bytes
    ) -> None:
        results, max_length = decode_associate_accept(answer)
        self.peer = peer
        self.accepted: dict[tuple[str, str], int] = {}
        self.contexts: dict[int, tuple[str, str]] = {}
        self._refused: dict[tuple[str, str], str] = {}
        for number, proposal in contexts.items():
            result, chosen = results.get(number, (1, ""))
            for syntax in proposal.transfer_syntaxes:
                if result == 0 and syntax == chosen:
                    self.accepted[proposal.abstract_syntax, syntax] = number
                    self.contexts[number] = proposal.abstract_syntax, syntax
                else:
                    word = "TransferSyntax" if result in (0, _NO_TRANSFER_SYNTAX) else "SopClass"
                    self._refused[proposal.abstract_syntax, syntax] = f"{word}NotAccepted"
        self.max_length = min(max_length or MAX_PDU, MAX_PDU)
        self._socket = plain
        self._parser = PduParser(MAX_PDU)
        self._buffer = memoryview(bytearray(_BUFFER))
        self._events: deque[Fragment | ControlPdu] = deque()  # come, and not yet looked at
        self._message = 0
        self._closed = False

    def covers(self, abstract_syntax: str, transfer_syntax: str) -> bool:
        """Tell whether this was negotiated, with whatever result."""
        pair = abstract_syntax, transfer_syntax
        return pair in self.accepted or pair in self._refused

    def why_not(self, abstract_syntax: str, transfer_syntax: str) -> str:
        """Return the word for what was not accepted."""
        return self._refused.get((abstract_syntax, transfer_syntax), "SopClassNotAccepted")

    def next_message_id(self) -> int:
        """Return an id that no open request has."""
        self._message = self._message % 65_535 + 1
        return self._message

    def send(self, *parts: bytes | memoryview, deadline: float) -> None:
        """Send all of it, before `deadline` on the monotonic clock.

        Raises:
            PeerFault: closed, reset, or the peer does not read.
        """
        left = [memoryview(part) for part in parts if len(part)]
        try:
            while left:
                patience = min(self.peer.answer_seconds, deadline - time.monotonic())
                if patience <= 0:
                    raise PeerFault("SendTimeout")
                self._socket.settimeout(patience)
                if len(left) == 1 or isinstance(self._socket, ssl.SSLSocket):
                    count = self._socket.send(left[0])
                else:
                    count = self._socket.sendmsg(left)
                while left and count >= len(left[0]):
                    count -= len(left.pop(0))
                if count:
                    left[0] = left[0][count:]
        except TimeoutError as error:
            raise PeerFault("SendTimeout") from error
        except OSError as error:
            raise self._why_lost() from error

    def _why_lost(self) -> PeerFault:
        """Return what the peer had said before it closed: perhaps an A-ABORT."""
        try:
            self._socket.settimeout(0.2)
            for event in self._parser.feed(self._buffer[: self._socket.recv_into(self._buffer)]):
                if isinstance(event, ControlPdu):
                    return _fault_of(event)
        except (OSError, ProtocolError):
            pass  # nothing more is to be had
        return PeerFault("ConnectionLost")

    def deadline_for(self, size: int) -> float:
        """Return until when `size` bytes must have gone."""
        return time.monotonic() + self.peer.answer_seconds + size / _LEAST_RATE

    def response(self, message_id: int) -> Response:
        """Wait for the response to a request.

        Raises:
            PeerFault: silence, an abort, a release, or an answer to something else.
        """
        deadline = time.monotonic() + self.peer.answer_seconds
        received = self.receive(deadline, data_limit=0)
        return self._matched(received.command, message_id)

    def receive(self, deadline: float, *, data_limit: int) -> ReceivedMessage:
        """Wait for a whole message, with its data set if it has one.

        Args:
            deadline: on the monotonic clock.
            data_limit: bytes of a data set that are read.

        Raises:
            PeerFault: silence, an abort, a release, or too much.
        """
        assembler = MessageAssembler(data_limit)
        while True:
            fragment = self.receive_fragment(deadline)
            try:
                message = assembler.take(fragment)
            except ProtocolError as error:
                raise PeerFault("ProtocolError", error.code) from error
            if message is not None:
                return message

    def receive_fragment(self, deadline: float) -> Fragment:
        """Wait for some bytes of a message. They hold until this is called again.

        Raises:
            PeerFault: silence, an abort, or a release.
        """
        while not self._events:
            self._events.extend(self._receive(deadline))
        event = self._events.popleft()
        if not isinstance(event, ControlPdu):
            return event
        if event.kind is PduKind.RELEASE_RQ:
            with suppress(PeerFault):
                self.send(encode_release_response(), deadline=deadline)
        raise _fault_of(event)

    def ask(self, context: int, command: bytes, data_set: bytes) -> None:
        """Send a command and its data set.

        Raises:
            PeerFault: closed, reset, or the peer does not read.
        """
        deadline = self.deadline_for(len(data_set))
        for is_command, data in ((True, command), (False, data_set)):
            if data:
                self.send(
                    encode_data(
                        context, is_command=is_command, data=data, max_length=self.max_length
                    ),
                    deadline=deadline,
                )

    @staticmethod
    def _matched(command: bytes, message_id: int) -> Response:
        try:
            response = decode_response(command)
        except ProtocolError as error:
            raise PeerFault("ProtocolError", error.code) from error
        if response.responded_to != message_id:
            raise PeerFault("ProtocolError", "a response to another message")
        return response

    def _receive(self, deadline: float) -> list[Fragment | ControlPdu]:
        patience = deadline - time.monotonic()
        if patience <= 0:
            raise PeerFault("AnswerTimeout")
        try:
            self._socket.settimeout(patience)
            # The kernel leaves quick acknowledgement by itself: a peer that writes a PDU in two
            # steps would then wait 40 ms for each.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            count = self._socket.recv_into(self._buffer)
        except TimeoutError as error:
            raise PeerFault("AnswerTimeout") from error
        except OSError as error:
            raise PeerFault("ConnectionLost") from error
        if not count:
            raise PeerFault("ConnectionLost")
        try:
            return list(self._parser.feed(self._buffer[:count]))
        except ProtocolError as error:
            raise PeerFault("ProtocolError", error.code) from error

    def echo(self) -> int:
        """Send a C-ECHO and return its status.

        Raises:
            PeerFault: no answer, or verification is not accepted.
        """
        number = self.accepted.get((VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN))
        if number is None:
            raise PeerFault("SopClassNotAccepted", "verification", transient=False)
        message_id = self.next_message_id()
        command = encode_echo_request(message_id, VERIFICATION.encode() + b"\x00")
        self.send(
            encode_data(number, is_command=True, data=command, max_length=self.max_length),
            deadline=self.deadline_for(len(command)),
        )
        return self.response(message_id).status

    def alive(self) -> bool:
        """Tell whether an idle association can still be used: the peer has said nothing since."""
        if self._closed or self._events:
            return False
        with suppress(OSError, ValueError):
            return not select.select([self._socket], [], [], 0)[0]
        return False

    def release(self) -> None:
        """End it in an orderly way, within seconds."""
        if self._closed:
            return
        deadline = time.monotonic() + _RELEASE_SECONDS
        with suppress(PeerFault):
            self.send(encode_release_request(), deadline=deadline)
            while not any(isinstance(event, ControlPdu) for event in self._receive(deadline)):
                pass
        self._close()

    def abort(self) -> None:
        """End it at once."""
        if self._closed:
            return
        with suppress(PeerFault):
            self.send(encode_user_abort(), deadline=time.monotonic() + 1)
        self._close()

    def interrupt(self) -> None:
        """Make the thread that waits here stop, from another thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        self._closed = True
        self._socket.close()


def _fault_of(event: ControlPdu) -> PeerFault:
    if event.kind is PduKind.ABORT:
        source, reason = (*event.body[2:4], 0, 0)[:2]
        return PeerFault("Aborted", f"source {source}, reason {reason}")
    return PeerFault("Released" if event.kind is PduKind.RELEASE_RQ else "ProtocolError")


def associate(peer: Peer, proposals: Sequence[Proposal]) -> Association:
    """Connect and negotiate.

    Raises:
        PeerFault: refused, silent, rejected, or not a DICOM node.
    """
    contexts = {2 * n + 1: one for n, one in enumerate(proposals[:_MOST_CONTEXTS])}
    plain = _connect(peer)
    try:
        return _negotiate(peer, plain, contexts)
    except BaseException as error:
        plain.close()
        if isinstance(error, TimeoutError):
            raise PeerFault("AnswerTimeout", "association") from error
        if isinstance(error, OSError):
            raise PeerFault("ConnectionLost", "association") from error
        if isinstance(error, ProtocolError):
            raise PeerFault("ProtocolError", error.code) from error
        raise


def _negotiate(peer: Peer, plain: socket.socket, contexts: Mapping[int, Proposal]) -> Association:
    plain.settimeout(peer.answer_seconds)
    plain.sendall(encode_associate_request(peer, contexts))
    kind, body = _read_answer(plain, time.monotonic() + peer.answer_seconds)
    if kind == PduKind.ASSOCIATE_AC:
        return Association(peer, plain, contexts, body)
    if kind == PduKind.ASSOCIATE_RJ:
        raise _rejection(body)
    if kind == PduKind.ABORT:
        raise _fault_of(ControlPdu(PduKind.ABORT, body))
    raise PeerFault("ProtocolError", f"PDU {kind} for an answer")


def _connect(peer: Peer) -> socket.socket:
    try:
        plain = socket.create_connection((peer.host, peer.port), timeout=peer.connect_seconds)
    except TimeoutError as error:
        raise PeerFault("ConnectTimeout") from error
    except socket.gaierror as error:
        raise PeerFault("HostUnknown") from error
    except ConnectionRefusedError as error:
        raise PeerFault("ConnectionRefused") from error
    except OSError as error:
        raise PeerFault("HostUnreachable", error.strerror or "") from error
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if peer.tls is None:
        return plain
    try:
        return peer.tls.wrap_socket(plain, server_hostname=peer.server_name or peer.host)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise PeerFault("CertificateRefused", error.verify_message) from error
    except (OSError, ValueError) as error:
        plain.close()
        raise PeerFault("TlsFailed", type(error).__name__) from error


def _read_answer(plain: socket.socket, deadline: float) -> tuple[int, bytes]:
    kind, length = struct.unpack(">BxL", _read_exactly(plain, HEAD, deadline))
    if length > ASSOCIATE_LIMIT:
        raise ProtocolError("pdu-too-long")
    return kind, _read_exactly(plain, length, deadline)


def _read_exactly(plain: socket.socket, size: int, deadline: float) -> bytes:
    found = bytearray()
    while len(found) < size:
        patience = deadline - time.monotonic()
        if patience <= 0:
            raise TimeoutError
        plain.settimeout(patience)
        piece = plain.recv(size - len(found))
        if not piece:
            raise ConnectionResetError
        found += piece
    return bytes(found)


def _rejection(body: bytes) -> PeerFault:
    result, source, reason = (*body[1:4], 0, 0, 0)[:3]
    transient = result == _TRANSIENT
    word = "RejectedTransient" if transient else "RejectedPermanent"
    return PeerFault(word, f"source {source}, reason {reason}", transient=transient)
