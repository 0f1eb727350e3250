"""The front door of a DICOM port: takes connections, reads association requests, keeps the limits.

A thread accepts; each connection has a thread of its own, so that a silent peer holds up nobody.
Nothing of a peer is believed before its A-ASSOCIATE-RQ is whole, which has 30 s and 1 MiB.

What is served behind it is declared as `Services`; see `serving`.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from selectors import EVENT_READ, DefaultSelector
from typing import Final

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.dimse.census import Census, Counts
from darkroom_common.dimse.channel import MAX_LENGTH, Pace
from darkroom_common.dimse.connection import Connection, HandshakeFailed, PeerGone, TlsConnection
from darkroom_common.dimse.journal import JOURNAL, Result, Side, Tally
from darkroom_common.dimse.negotiation import (
    AE_LIMIT_REACHED,
    CONGESTION,
    HOST_LIMIT_REACHED,
    LIMIT_REACHED,
    negotiate,
    refuse_protocol,
)
from darkroom_common.dimse.serving import Busy, Served, Services
from darkroom_common.dimse.tls import TlsServer
from darkroom_common.dimse.wire.association_items import (
    AssociateRequest,
    Context,
    Rejection,
    decode_associate_request,
    encode_associate_accept,
)
from darkroom_common.dimse.wire.pdu import (
    ASSOCIATE_LIMIT,
    HEAD,
    AbortReason,
    PduKind,
    ProtocolError,
    encode_abort,
)
from darkroom_common.links.inherited import inherited
from darkroom_common.links.trust import is_strictness, refusal
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

log = get_logger(__name__)
STRANGERS: Final = 200
"""Connections beyond the associations, that have not yet said who they are."""
_ACCEPT_PAUSE: Final = 0.2  # seconds, when the process has no descriptor left
_BACKLOG: Final = 512
_STEP_ASIDE: Final = 0.003
"""Seconds for which a process lets one take a connection that has fewer."""


@dataclass(frozen=True)
class DoorLimits:
    """Limits of one door."""

    associations: int
    per_host: int
    request_seconds: float = 30.0
    stall_seconds: float = 30.0
    """Without a byte within a PDU."""
    idle_seconds: float = 60.0
    """Without a word between PDUs."""
    max_length: int = MAX_LENGTH
    """Of the P-DATA-TF that is taken."""


@dataclass(frozen=True)
class Entrance:
    """A listening socket, for plain DICOM or for DICOM over TLS."""

    listener: socket.socket
    tls: TlsServer | None = None


@dataclass(frozen=True)
class Admission:
    """A caller may come in."""

    max_associations: int | None = None
    """That this calling AE may have at a time."""
    may: Callable[[int, str], bool] = lambda _field, _sop_class: True
    """Whether it may give a command for a SOP class."""


@dataclass
class Door:
    """Admits associations on listening sockets.

    Args:
        entrances: listening sockets; other processes may accept on them too.
        limits: how many, from whom, how fast.
        services: what is served.
        census: counts associations, here and in the other processes.
        admit: says whether and how a request is admitted.
        busy: counts the threads that work at a request.
    """

    entrances: Sequence[Entrance]
    limits: DoorLimits
    services: Services
    census: Census
    admit: Callable[[AssociateRequest, Connection], Rejection | Admission]
    busy: Busy = field(default_factory=Busy)
    clock: Clock = SYSTEM_CLOCK
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: dict[threading.Thread, Connection] = field(default_factory=dict)
    _closing: bool = False
    _never: threading.Event = field(default_factory=threading.Event)  # is it set

    def start(self) -> None:
        """Accept from now on."""
        for entrance in self.entrances:
            entrance.listener.settimeout(0)
        self._wake, self._woken = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name="door", daemon=True)
        self._acceptor.start()

    def refuse_new(self) -> None:
        """Reject who comes from now on with "congestion": try again later."""
        self._closing = True

    def leave(self) -> None:
        """Accept nobody, so that another process does; serve who is here until they go."""
        self._wake.close()

    @property
    def is_empty(self) -> bool:
        """Whether nobody is connected."""
        return not self._threads

    def close(self, limit: float) -> None:
        """Accept nobody, end every association, wait at most `limit` seconds for the threads."""
        self._closing = True
        self._wake.close()
        self._acceptor.join(limit)
        deadline = self.clock.monotonic() + limit
        with self._lock:
            left = dict(self._threads)
        for connection in left.values():
            connection.interrupt()
        for thread in left:
            thread.join(max(0.0, deadline - self.clock.monotonic()))

    def _accept(self) -> None:
        with ExitStack() as stack, self._woken, DefaultSelector() as selector:
            selector.register(self._woken, EVENT_READ)
            for entrance in self.entrances:
                stack.enter_context(entrance.listener)
                selector.register(entrance.listener, EVENT_READ, entrance)
            while True:
                ready = [key.data for key, _ in selector.select()]
                if None in ready:
                    return
                for entrance in ready:
                    self._accept_at(entrance)

    def _accept_at(self, entrance: Entrance) -> None:
        if self._has_most():
            self._never.wait(_STEP_ASIDE)
        try:
            plain, address = entrance.listener.accept()
        except BlockingIOError:
            return  # another process was faster, or the peer has gone again
        except OSError as error:
            log.error("door.accept_failed", reason=error.strerror)
            self._never.wait(_ACCEPT_PAUSE)
            return
        self._begin(plain, str(address[0]), entrance.tls)

    def _has_most(self) -> bool:
        """Return whether another process has fewer: it may take who comes, if it does so at once.

        Whoever comes waits for that moment at most, even if the other process hangs.
        """
        least = self.census.least_elsewhere()
        return least is not None and len(self._threads) > least

    def _begin(self, plain: socket.socket, host: str, tls: TlsServer | None) -> None:
        try:
            connection = Connection(plain, host) if tls is None else TlsConnection(plain, host)
        except OSError:
            plain.close()  # gone before it was looked at
            return
        thread = threading.Thread(target=self._run, args=(connection, tls), daemon=True)
        with self._lock:
            crowded = len(self._threads) >= self.limits.associations + STRANGERS
            if not crowded:
                self._threads[thread] = connection
        if crowded:
            log.warning("association.rejected", peer=host, reason="connections")
            metrics.ASSOCIATIONS.labels("rejected").inc()
            if tls is None:
                with suppress(PeerGone):
                    connection.send(CONGESTION.encode())
            connection.close()
            return
        thread.start()

    def _run(self, connection: Connection, tls: TlsServer | None) -> None:
        deadline = self.clock.monotonic() + self.limits.request_seconds
        try:
            if (
                tls is None
                or not isinstance(connection, TlsConnection)
                or self._shake_hands(connection, tls, deadline)
            ):
                self._welcome(connection, deadline)
        except Exception:
            log.exception("association.failed", peer=connection.host)
        finally:
            connection.close()
            with self._lock:
                del self._threads[threading.current_thread()]

    @staticmethod
    def _shake_hands(connection: TlsConnection, tls: TlsServer, deadline: float) -> bool:
        """Return whether the connection is within TLS now."""
        context = tls.context
        if context is None:
            log.error("tls.no_certificate", peer=connection.host)
            return False
        try:
            connection.open(context, deadline)
        except HandshakeFailed as error:
            metrics.TLS_HANDSHAKES.labels("refused").inc()
            JOURNAL.ended(Side("in", connection.host), "refused", error.code)
            log.warning("tls.refused", peer=connection.host, reason=_why(error))
            connection.hang_up()
        except (PeerGone, ProtocolError) as error:
            metrics.TLS_HANDSHAKES.labels("ended").inc()
            log.info("connection.ended", peer=connection.host, reason=error.code)
        else:
            metrics.TLS_HANDSHAKES.labels("done").inc()
            return True
        return False

    def _welcome(self, connection: Connection, deadline: float) -> None:
        try:
            request = self._read_request(connection, deadline)
            if request is None:
                return
        except PeerGone as error:
            log.info("connection.ended", peer=connection.host, reason=error.code)
            return
        except ProtocolError as error:
            log.warning("association.unreadable", peer=connection.host, reason=error.code)
            metrics.ASSOCIATIONS.labels("aborted").inc()
            connection.hang_up(encode_abort(error.reason))
            return
        admission = refuse_protocol(request) or self.admit(request, connection)
        if isinstance(admission, Rejection):
            self._reject(connection, request, admission)
            return
        host, ae_title = connection.host, request.calling_ae_title
        try:
            counts = self.census.enter(host, ae_title)
            rejection = self._look_at(counts, admission)
            if rejection is None:
                self._open_association(connection, request, admission)
        finally:
            self.census.leave(host, ae_title)
        if rejection is not None:
            self._reject(connection, request, rejection)

    @staticmethod
    def _read_request(connection: Connection, deadline: float) -> AssociateRequest | None:
        head = connection.read_exactly(HEAD, deadline)
        length = int.from_bytes(head[2:], "big")
        if head[0] != PduKind.ASSOCIATE_RQ:
            if head[0] in PduKind.__members__.values():
                raise ProtocolError("unexpected-pdu", AbortReason.UNEXPECTED_PDU)
            log.warning("connection.not_dicom", peer=connection.host)
            connection.hang_up()
            return None
        if length > ASSOCIATE_LIMIT:
            raise ProtocolError("request-too-long", AbortReason.INVALID_PARAMETER)
        return decode_associate_request(connection.read_exactly(length, deadline))

    def _look_at(self, counts: Counts, admission: Admission) -> Rejection | None:
        if self._closing:
            return CONGESTION
        if counts.in_all > self.limits.associations:
            return LIMIT_REACHED
        if counts.of_host > self.limits.per_host:
            return HOST_LIMIT_REACHED
        if counts.of_ae > (admission.max_associations or counts.of_ae):
            return AE_LIMIT_REACHED
        return None

    def _reject(
        self, connection: Connection, request: AssociateRequest, rejection: Rejection
    ) -> None:
        metrics.ASSOCIATIONS.labels("rejected").inc()
        JOURNAL.ended(_side(connection, request), "rejected", rejection.word)
        log.warning(
            "association.rejected",
            peer=connection.host,
            ae=request.calling_ae_title,
            called_ae=request.called_ae_title,
            reason=rejection.word,
        )
        connection.hang_up(rejection.encode())

    def _open_association(
        self, connection: Connection, request: AssociateRequest, admission: Admission
    ) -> None:
        contexts, accept = negotiate(request, self.services.supported, self.limits.max_length)
        try:
            connection.send(encode_associate_accept(request, accept))
        except (PeerGone, ProtocolError) as error:
            log.info("connection.ended", peer=connection.host, reason=error.code)
            return
        metrics.ASSOCIATIONS.labels("accepted").inc()
        metrics.ASSOCIATIONS_OPEN.inc()
        log.info(
            "association.accepted",
            ae=request.calling_ae_title,
            peer=connection.host,
            protection=connection.protection or "none",
        )
        try:
            self._serve(connection, request, contexts, admission)
        finally:
            metrics.ASSOCIATIONS_OPEN.dec()

    def _serve(
        self,
        connection: Connection,
        request: AssociateRequest,
        contexts: dict[int, Context],
        admission: Admission,
    ) -> None:
        limits, side = self.limits, _side(connection, request)
        tally, began_at = Tally(), self.clock.now()

        def ended(fault: str) -> None:
            result: Result = "aborted" if fault else "released"
            JOURNAL.ended(side, result, fault, began_at=began_at, tally=tally)

        Served(
            connection,
            request,
            contexts,
            self.services,
            pace=Pace(limits.stall_seconds, limits.idle_seconds),
            busy=self.busy,
            may=admission.may,
            max_length=limits.max_length,
            tally=tally,
            ended=ended,
        ).run()


def _why(error: HandshakeFailed) -> str:
    """Return OpenSSL's word, or in words what a setting would pass over."""
    cause = error.__cause__
    return refusal(cause, "DICOM_TLS_STRICT") if is_strictness(cause) else error.code


def _side(connection: Connection, request: AssociateRequest) -> Side:
    return Side(
        "in",
        connection.host,
        request.calling_ae_title,
        request.called_ae_title,
        connection.protection,
        connection.certificate_sha256,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket with a long queue: the one that is held for us, if any.

    Raises:
        OSError: the address is taken, or is not one of this machine.
        ConfigurationError: what is held for us cannot be used.
    """
    for held in inherited(port, _BACKLOG):
        return held
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
