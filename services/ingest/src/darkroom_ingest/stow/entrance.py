"""Where the api hands bodies of STOW over: a thread for each, as associations have."""

import socket
import threading
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.clock import SYSTEM_CLOCK, monotonic
from darkroom_common.dimse.connection import Connection, PeerGone, TlsConnection
from darkroom_common.dimse.contexts import storage_sop_classes
from darkroom_common.dimse.tls import TlsServer
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.postgres.phi import decode_key
from darkroom_common.stow.handover import Proof
from darkroom_common.stow.multipart import PartLimits
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.receiving.receive import Receiver
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.stow.exchange import Exchange
from darkroom_ingest.stow.parts import Intake
from darkroom_ingest.stow.scratch import Memory

log = get_logger(__name__)
_TICK: Final = 0.25
"""Seconds between two looks whether it is to end."""
_HANDSHAKE_SECONDS: Final = 10.0
_PAUSE: Final = 1.0
"""Seconds before the next try, when the process has no descriptor left."""
_GRACE: Final = 1.0
"""Seconds to prove to be the api, when others wait; it says so with its first bytes."""


def open_stow(
    listener: socket.socket, settings: IngestSettings, receiver: Receiver
) -> "StowEntrance":
    """Return what takes bodies of STOW, on a listening socket, into a receiver's spool."""
    key = decode_key(settings.pseudonym_key.get_secret_value(), setting="PSEUDONYM_KEY")
    intake = Intake(
        receiver,
        frozenset({*storage_sop_classes(), *settings.private_sop_classes}),
        settings.stow_ae_title.strip(),
        settings.ae_title.strip(),
        Memory(settings.stow_metadata_bytes),
    )
    limits = PartLimits(parts=settings.stow_parts)
    proof = Proof(key, SYSTEM_CLOCK)
    exchange = Exchange(intake, proof, limits, settings.stall_seconds)
    tls = None if settings.inner_tls is None else settings.inner_tls.server()
    return StowEntrance(listener, exchange, settings.stow_uploads, tls)


@dataclass
class StowEntrance:
    """Accepts connections of the api, in one process of several that share the socket.

    Who does not prove to be the api keeps an upload waiting for a second, however many come.

    Attributes:
        listener: the listening socket.
        exchange: answers.
        uploads: at a time; beyond it others of this node take the next, or it waits.
        tls: what connections are within; None: plain ones.
    """

    listener: socket.socket
    exchange: Exchange
    uploads: int
    tls: TlsServer | None = None
    _closing: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _open: dict[threading.Thread, Connection] = field(default_factory=dict)
    _strangers: dict[threading.Thread, float] = field(default_factory=dict)

    def start(self) -> None:
        """Accept from now on."""
        self.listener.settimeout(_TICK)
        self._acceptor = threading.Thread(target=self._accept, name="stow", daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        with self.listener:
            while not self._closing.is_set():
                if self._has_room():
                    self._take()

    def _has_room(self) -> bool:
        """Tell whether one more is taken; else wait a moment, and show out who says nothing."""
        with self._changed:
            if len(self._open) < self.uploads:
                return True
            oldest = next(iter(self._strangers), None)
            if oldest is None or monotonic() - self._strangers[oldest] < _GRACE:
                self._changed.wait(_TICK)
            else:
                del self._strangers[oldest]
                self._open.pop(oldest).interrupt()
        return False

    def _take(self) -> None:
        """Begin with the next connection, if there is one."""
        try:
            plain, address = self.listener.accept()
        except TimeoutError:
            return
        except OSError as error:
            log.error("stow.accept_failed", reason=error.strerror)
            self._closing.wait(_PAUSE)
            return
        try:
            kind = Connection if self.tls is None else TlsConnection
            connection = kind(plain, str(address[0]))
        except OSError:
            plain.close()  # gone before it was looked at
            return
        thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
        with self._changed:
            self._open[thread] = connection
            self._strangers[thread] = monotonic()
        thread.start()

    def _run(self, connection: Connection) -> None:
        try:
            if self._shake_hands(connection):
                self.exchange.run(connection, self._prove)
        except Exception:
            log.exception("stow.defect")
            connection.close()
        finally:
            with self._changed:
                self._strangers.pop(threading.current_thread(), None)
                self._open.pop(threading.current_thread(), None)
                self._changed.notify_all()

    def _shake_hands(self, connection: Connection) -> bool:
        """Do the handshake where there is TLS; tell whether the caller may speak."""
        if self.tls is None or not isinstance(connection, TlsConnection):
            return True
        try:
            if self.tls.context is not None:
                connection.open(self.tls.context, monotonic() + _HANDSHAKE_SECONDS)
                return True
        except (PeerGone, ProtocolError) as error:
            log.warning("stow.refused", reason=str(error))
        connection.hang_up()
        return False

    def _prove(self) -> bool:
        """Hear that it is the api; tell whether its room has not been given to another."""
        with self._changed:
            return self._strangers.pop(threading.current_thread(), None) is not None

    def leave(self) -> None:
        """Accept nobody, and take what is on its way as ever."""
        self._closing.set()

    @property
    def is_empty(self) -> bool:
        """Whether nobody is connected."""
        return not self._open

    def close(self, limit: float) -> None:
        """Accept nobody, let bodies come whole for `limit` seconds, then break them off."""
        self._closing.set()
        deadline = monotonic() + limit
        self._acceptor.join(limit)
        with self._changed:
            left = dict(self._open)
        for thread in left:
            thread.join(max(0.0, deadline - monotonic()))
        for thread, connection in left.items():
            if thread.is_alive():
                connection.interrupt()
        for thread in left:
            thread.join(_PAUSE)
