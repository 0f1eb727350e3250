"""The C-ECHO and C-STORE SCP: the front door, and `StoreAssociation` behind it."""

import asyncio
import logging
import socket
import time
from dataclasses import replace
from typing import Final

from darkroom_common.dimse.acceptor import Accepted, Admission, Door, DoorLimits, Entrance, listen
from darkroom_common.dimse.bridge import Busy
from darkroom_common.dimse.census import Census
from darkroom_common.dimse.connection import Connection
from darkroom_common.dimse.contexts import VERIFICATION, storage_sop_classes, transfer_syntaxes
from darkroom_common.dimse.negotiation import (
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    CONGESTION,
    AssociationRequest,
    Rejection,
    Supported,
)
from darkroom_common.errors import ConfigurationError
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.receiving.association import Pace, StoreAssociation, StoreService
from darkroom_ingest.receiving.receive import Receiver
from darkroom_ingest.senders.admission import Caller, Denied, Permit
from darkroom_ingest.senders.roster import Gate, Standing
from darkroom_ingest.settings import IngestSettings

log = get_logger(__name__)
DRAIN_SHARE: Final = 0.6
"""Part of the drain time that open associations get before they are aborted."""
_CLOSE_SECONDS: Final = 2.0
IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"


class StorageScp:
    """Serves the DICOM port from one process."""

    def __init__(
        self, settings: IngestSettings, receiver: Receiver, busy: Busy, census: Census, gate: Gate
    ) -> None:
        # pynetdicom's decoder logs what a peer offers, as sentences.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        self._settings = settings
        self._receiver = receiver
        self._busy = busy
        self._census = census
        self._gate = gate
        self._service = StoreService(
            receiver,
            busy,
            pace=Pace(stall=settings.stall_seconds, idle=settings.idle_seconds),
            max_length=settings.max_pdu,
            sop_classes=frozenset({*storage_sop_classes(), *settings.private_sop_classes}),
        )
        self._door: Door | None = None

    def start(self, *entrances: Entrance) -> None:
        """Accept associations on listening sockets."""
        settings = self._settings
        syntaxes = transfer_syntaxes()
        contexts = [(uid, syntaxes) for uid in sorted(self._service.sop_classes)]
        self._door = Door(
            entrances=entrances,
            limits=DoorLimits(
                associations=settings.max_associations,
                per_host=settings.max_associations_per_host,
                request_seconds=settings.request_seconds,
            ),
            supported=Supported(
                [(VERIFICATION, (IMPLICIT_LITTLE, *syntaxes)), *contexts], settings.max_pdu
            ),
            census=self._census,
            admit=self._admit,
            serve=self._serve,
        )
        self._door.start()

    def _admit(self, request: AssociationRequest, connection: Connection) -> Rejection | Admission:
        verdict = self._gate.decide(_caller(request, connection))
        match verdict:
            case Permit():
                return Admission(verdict.max_associations)
            case Denied.CALLED:
                return CALLED_AE_UNKNOWN
            case Denied.NO_ROSTER:  # it may well be listed: it is to try again
                return replace(CONGESTION, word=verdict.value)
            case _:
                return replace(CALLING_AE_UNKNOWN, word=verdict.value)

    def _serve(self, accepted: Accepted) -> None:
        standing = Standing(self._gate, _caller(accepted.request, accepted.connection))
        StoreAssociation(accepted, self._service, standing.may_store).run()

    def drain(self, limit: float) -> None:
        """Accept nobody new, refuse new objects, let current ones finish, then close. It blocks."""
        if self._door is None:
            return
        self._receiver.draining = True
        self._door.refuse_new()
        self._busy.wait_idle(limit * DRAIN_SHARE)
        self._door.close(_CLOSE_SECONDS)


def _caller(request: AssociationRequest, connection: Connection) -> Caller:
    return Caller(
        request.calling_ae_title,
        request.called_ae_title,
        connection.host,
        connection.certificate_sha256,
    )


async def listen_for_dicom(
    host: str, port: int, *, tls: bool = False, patience: float = 5.0
) -> socket.socket:
    """Return the listening socket of a DICOM port.

    It waits a moment for a port that is taken: by the workers of a run that was just killed.

    Raises:
        ConfigurationError: the port is taken, or the address is not one of this machine.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            listener = listen(host, port)
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"cannot listen on {host}:{port}: {error.strerror}"
                ) from error
            await asyncio.sleep(0.1)
        else:
            log.info("scp.listening", host=host, port=port, tls=tls)
            return listener
