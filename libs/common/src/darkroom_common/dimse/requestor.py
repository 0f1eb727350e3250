"""Associations as requestor: connect, negotiate, ask, release (PS3.8 section 9.3).

Everything blocks and everything ends: an association belongs to the thread that uses it, and every
connect, read and write has a time limit. What the peer does wrong is one of the `PeerFault`s.
"""

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed
from darkroom_common.dimse.back_channel import LEAST_RATE
from darkroom_common.dimse.channel import MAX_LENGTH, Channel, Deadline
from darkroom_common.dimse.connection import (
    TIME_LIMIT,
    Connection,
    HandshakeFailed,
    PeerGone,
    TlsConnection,
)
from darkroom_common.dimse.journal import JOURNAL, Account, Side
from darkroom_common.dimse.tls import BadCertificate, TlsClient
from darkroom_common.dimse.wire.association_items import (
    ACCEPTED,
    MOST_CONTEXTS,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    USER_REJECTION,
    Context,
    Proposal,
    decode_associate_accept,
    decode_rejection,
    encode_associate_request,
)
from darkroom_common.dimse.wire.data_set import IDENTIFIER_LIMIT
from darkroom_common.dimse.wire.messages import InMemory, Message, OpenSink
from darkroom_common.dimse.wire.pdu import (
    ASSOCIATE_LIMIT,
    HEAD,
    ControlPdu,
    PduKind,
    ProtocolError,
    encode_release_request,
    encode_release_response,
    encode_user_abort,
)
from darkroom_common.errors import DarkroomError
from darkroom_common.links.trust import refusal, refused_as
from darkroom_common.specs.destinations import Tls

_ABOUT_US: Final = frozenset({(1, 2), (1, 3), (1, 7)})
"""Source and reason of a rejection: application context, calling and called AE title."""
_RELEASE_SECONDS: Final = 5.0
_monotonic: Final = SYSTEM_CLOCK.monotonic


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


class ProposalRefused(PeerFault):
    """The peer refuses an association without a word against us: perhaps no context suits it."""


@contextmanager
def faults(time_limit: str = "AnswerTimeout", detail: str = "") -> Iterator[None]:
    """Say what goes wrong with a peer as a `PeerFault`."""
    try:
        yield
    except PeerGone as error:
        word = time_limit if error.code == TIME_LIMIT else "ConnectionLost"
        raise PeerFault(word, detail) from error
    except ProtocolError as error:
        raise PeerFault("ProtocolError", error.code) from error


@dataclass(frozen=True)
class Peer:
    """A node to call, and with which patience.

    Attributes:
        assumed: what its text is in where it does not say, and what it is asked in.
    """

    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str
    connect_seconds: float = 10.0
    answer_seconds: float = 60.0
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    assumed: Assumed = NOTHING_ASSUMED


def tls_context(files: TlsClient, asked: Tls) -> ssl.SSLContext:
    """Return what connections to a peer are made with.

    Raises:
        PeerFault: certificates cannot be used.
    """
    try:
        return files.context(asked)
    except BadCertificate as error:
        raise PeerFault("BadCertificate", str(error), transient=False) from error


def in_memory(limit: int) -> OpenSink:
    """Return how data sets up to a limit are taken."""
    return lambda _context, _command: InMemory(limit)


class Association:
    """An open association of ours; made by `associate`.

    Attributes:
        accepted: context id by (abstract syntax, transfer syntax).
        contexts: by id.
        max_length: of the P-DATA-TF that we send.
        heard_at: when the peer was heard last, on the monotonic clock.
    """

    def __init__(
        self,
        peer: Peer,
        connection: Connection,
        contexts: Mapping[int, Proposal],
        answer: bytes,
        open_sink: OpenSink,
    ) -> None:
        accept = decode_associate_accept(answer)
        self.peer = peer
        self.accepted: dict[tuple[str, str], int] = {}
        self.contexts: dict[int, Context] = {}
        self._refused: dict[tuple[str, str], str] = {}
        for number, proposal in contexts.items():
            result, chosen = accept.results.get(number, (USER_REJECTION, ""))
            for syntax in proposal.transfer_syntaxes:
                if result == ACCEPTED and syntax == chosen:
                    self.accepted[proposal.abstract_syntax, syntax] = number
                    self.contexts[number] = Context(proposal.abstract_syntax, syntax)
                else:
                    about_syntax = result in (ACCEPTED, TRANSFER_SYNTAXES_NOT_SUPPORTED)
                    word = "TransferSyntax" if about_syntax else "SopClass"
                    self._refused[proposal.abstract_syntax, syntax] = f"{word}NotAccepted"
        self.max_length = min(accept.max_length or MAX_LENGTH, MAX_LENGTH)
        self._connection = connection
        self._channel = Channel(connection, self.contexts, open_sink, takes=self.max_length)
        self._message = 0
        self._closed = False
        self._account = Account(_side(peer, connection.protection))

    @property
    def heard_at(self) -> float:
        """When the last bytes came, on the monotonic clock."""
        return self._channel.heard_at

    def covers(self, abstract_syntax: str, transfer_syntax: str) -> bool:
        """Tell whether this was negotiated, with whatever result."""
        pair = abstract_syntax, transfer_syntax
        return pair in self.accepted or pair in self._refused

    def why_not(self, abstract_syntax: str, transfer_syntax: str) -> str:
        """Return the word for what was not accepted: a SOP class only when it is in no syntax."""
        if any(accepted == abstract_syntax for accepted, _ in self.accepted):
            return "TransferSyntaxNotAccepted"
        return self._refused.get((abstract_syntax, transfer_syntax), "SopClassNotAccepted")

    def next_message_id(self) -> int:
        """Return an id that no open request has."""
        self._message = self._message % 65_535 + 1
        return self._message

    def send(self, *parts: bytes | memoryview, deadline: float) -> None:
        """Send PDUs, before `deadline` on the monotonic clock.

        Raises:
            PeerFault: closed, reset, or the peer does not read.
        """
        parts = tuple(part for part in parts if len(part))
        try:
            with self._account.watching(), faults("SendTimeout"):
                self._connection.send(*parts, deadline=deadline, patience=self.peer.answer_seconds)
        except PeerFault as fault:
            if fault.reason == "ConnectionLost":
                raise self._why_lost() from fault
            raise

    def _why_lost(self) -> PeerFault:
        """Return what the peer had said before it closed: perhaps an A-ABORT."""
        with suppress(PeerGone, ProtocolError):
            patience = Deadline(_monotonic() + 0.2)
            while True:
                event = self._channel.receive(patience)
                if isinstance(event, ControlPdu):
                    return _fault_of(event)
        return PeerFault("ConnectionLost")

    def deadline_for(self, size: int) -> float:
        """Return until when `size` bytes must have gone."""
        return _monotonic() + self.peer.answer_seconds + size / LEAST_RATE

    def ask(self, context: int, command: bytes, data_set: bytes = b"") -> None:
        """Send a command and its data set.

        Raises:
            PeerFault: closed, reset, or the peer does not read.
        """
        pdus = self._channel.encode(context, command, data_set)
        self.send(pdus, deadline=self.deadline_for(len(data_set)))

    def receive(self, deadline: float) -> Message:
        """Wait for a whole message, with its data set if it has one.

        Args:
            deadline: on the monotonic clock; whoever comes back later loses nothing.

        Raises:
            PeerFault: silence, an abort, a release, or too much.
        """
        with self._account.watching(), faults():
            event = self._channel.receive(Deadline(deadline))
        if isinstance(event, Message):
            self._account.tally.heard(event.command)
            return event
        if event.kind is PduKind.RELEASE_RQ:
            with suppress(PeerFault):
                self.send(encode_release_response(), deadline=deadline)
        with self._account.watching():
            raise _fault_of(event)

    def response(
        self,
        message_id: int,
        deadline: float | None = None,
        take: Callable[[Message], bool] = lambda _: False,
    ) -> Message:
        """Wait for the response to a request.

        Args:
            message_id: of the request.
            deadline: on the monotonic clock; without one, what the peer is given to answer.
            take: is offered each request that comes meanwhile; returns whether it took it.

        Raises:
            PeerFault: silence, an abort, a release, or an answer to something else.
        """
        deadline = deadline or _monotonic() + self.peer.answer_seconds
        while True:
            message = self.receive(deadline)
            if message.command.is_response:
                if message.command.message_id != message_id:
                    raise PeerFault("ProtocolError", "a response to another message")
                return message
            if not take(message):
                raise PeerFault("ProtocolError", "no-response")

    def is_alive(self) -> bool:
        """Tell whether an idle association can still be used: the peer has said nothing since."""
        with suppress(ProtocolError, PeerGone):
            return not self._closed and self._channel.is_quiet()
        return False

    def release(self) -> None:
        """End it in an orderly way, within seconds."""
        if self._closed:
            return
        deadline = _monotonic() + _RELEASE_SECONDS
        with suppress(PeerGone, ProtocolError):
            self._connection.send(encode_release_request(), deadline=deadline)
            while isinstance(self._channel.receive(Deadline(deadline)), Message):
                pass
        self._close()

    def abort(self) -> None:
        """End it at once."""
        if not self._closed:
            self._close(encode_user_abort())

    def interrupt(self) -> None:
        """Make the thread that waits here stop, from another thread."""
        self._connection.interrupt()

    def _close(self, last: bytes = b"") -> None:
        self._closed = True
        self._channel.assembler.abandon()
        self._connection.close(last)
        self._account.close(aborted=bool(last))


def _side(peer: Peer, protection: str = "") -> Side:
    return Side("out", peer.host, peer.calling_ae_title, peer.called_ae_title, protection)


def _fault_of(event: ControlPdu) -> PeerFault:
    if event.kind is PduKind.ABORT:
        source, reason = (*event.body[2:4], 0, 0)[:2]
        return PeerFault("Aborted", f"source {source}, reason {reason}")
    return PeerFault("Released" if event.kind is PduKind.RELEASE_RQ else "ProtocolError")


def associate(
    peer: Peer, proposals: Sequence[Proposal], open_sink: OpenSink | None = None
) -> Association:
    """Connect and negotiate.

    Args:
        peer: whom to call.
        proposals: what is offered.
        open_sink: where data sets go that the peer sends; without it, small ones into memory.

    Raises:
        PeerFault: refused, silent, rejected, or not a DICOM node.
    """
    try:
        return _associate(peer, proposals, open_sink or in_memory(IDENTIFIER_LIMIT))
    except PeerFault as fault:
        JOURNAL.not_opened(_side(peer), fault.reason)
        raise


def _associate(peer: Peer, proposals: Sequence[Proposal], open_sink: OpenSink) -> Association:
    contexts = {2 * n + 1: one for n, one in enumerate(proposals[:MOST_CONTEXTS])}
    connection = _connect(peer)
    try:
        with faults(detail="association"):
            answer = _negotiate(peer, connection, contexts)
            return Association(peer, connection, contexts, answer, open_sink)
    except BaseException:
        connection.close()
        raise


def _negotiate(peer: Peer, connection: Connection, contexts: Mapping[int, Proposal]) -> bytes:
    """Return the body of the A-ASSOCIATE-AC."""
    deadline = _monotonic() + peer.answer_seconds
    connection.send(
        encode_associate_request(peer.called_ae_title, peer.calling_ae_title, contexts, MAX_LENGTH),
        deadline=deadline,
        patience=peer.answer_seconds,
    )
    head = connection.read_exactly(HEAD, deadline)
    kind, length = head[0], int.from_bytes(head[2:], "big")
    if length > ASSOCIATE_LIMIT:
        raise ProtocolError("pdu-too-long")
    body = connection.read_exactly(length, deadline)
    match kind:
        case PduKind.ASSOCIATE_AC:
            return body
        case PduKind.ASSOCIATE_RJ:
            said = decode_rejection(body)
            word = "RejectedTransient" if said.is_transient else "RejectedPermanent"
            detail = f"source {said.source}, reason {said.reason}"
            named = said.is_transient or (said.source, said.reason) in _ABOUT_US
            refused = PeerFault if named else ProposalRefused
            raise refused(word, detail, transient=said.is_transient)
        case PduKind.ABORT:
            fault = _fault_of(ControlPdu(PduKind.ABORT, body))
            raise ProposalRefused(fault.reason, fault.detail)
    raise PeerFault("ProtocolError", f"PDU {kind} for an answer")


def _connect(peer: Peer) -> Connection:
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
    if peer.tls is None:
        return Connection(plain, peer.host)
    connection = TlsConnection(plain, peer.host)
    try:
        connection.open(
            peer.tls, _monotonic() + peer.connect_seconds, server_name=peer.server_name or peer.host
        )
    except (PeerGone, ProtocolError, ValueError) as error:
        plain.close()
        cause = error.__cause__
        if isinstance(error, HandshakeFailed) and isinstance(cause, ssl.SSLCertVerificationError):
            raise PeerFault(refused_as(cause), refusal(cause, "tls.strict")) from error
        raise PeerFault("TlsFailed", getattr(error, "code", type(error).__name__)) from error
    return connection
