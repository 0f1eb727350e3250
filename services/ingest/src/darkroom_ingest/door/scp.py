"""The SCP of all that is served: the front door, and what is behind it."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse.acceptor import Admission, Door, DoorLimits, Entrance, listen
from darkroom_common.dimse.census import Census
from darkroom_common.dimse.connection import Connection
from darkroom_common.dimse.contexts import storage_sop_classes, transfer_syntaxes
from darkroom_common.dimse.negotiation import CALLED_AE_UNKNOWN, CALLING_AE_UNKNOWN, CONGESTION
from darkroom_common.dimse.serving import Busy, Service, Services
from darkroom_common.dimse.wire.association_items import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    AssociateRequest,
    Rejection,
    Role,
)
from darkroom_common.dimse.wire.command import CommandField
from darkroom_common.errors import ConfigurationError
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.answering.archive import Archive
from darkroom_ingest.answering.commitment import committing
from darkroom_ingest.answering.find import finding
from darkroom_ingest.answering.get import getting
from darkroom_ingest.answering.move import moving
from darkroom_ingest.answering.retrieving import Desk
from darkroom_ingest.receiving.receive import Receiver
from darkroom_ingest.receiving.storing import storing
from darkroom_ingest.senders.admission import Caller, Denied, Permit
from darkroom_ingest.senders.roster import Doorkeeper, Standing
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.worklist.serving import scheduling

log = get_logger(__name__)
DRAIN_SHARE: Final = 0.6
"""Part of the drain time that open associations get before they are aborted."""
_CLOSE_SECONDS: Final = 2.0


class StorageScp:
    """Serves the DICOM port from one process."""

    def __init__(
        self,
        settings: IngestSettings,
        receiver: Receiver,
        census: Census,
        doorkeeper: Doorkeeper,
        archive: Archive | None = None,
    ) -> None:
        self._settings = settings
        self._receiver = receiver
        self._busy = Busy()
        self._census = census
        self._doorkeeper = doorkeeper
        self._archive = archive
        self._door: Door | None = None

    def start(self, *entrances: Entrance) -> None:
        """Accept associations on listening sockets."""
        settings = self._settings
        syntaxes = transfer_syntaxes()
        storage = Service(
            sop_classes=sorted({*storage_sop_classes(), *settings.private_sop_classes}),
            handlers={CommandField.C_STORE: storing(self._receiver)},
            transfer_syntaxes=syntaxes,
            role=Role() if self._archive is None else Role(scu=True, scp=True),  # of C-GET
        )
        self._door = Door(
            entrances=entrances,
            limits=DoorLimits(
                associations=settings.max_associations,
                per_host=settings.max_associations_per_host,
                request_seconds=settings.request_seconds,
                stall_seconds=settings.stall_seconds,
                idle_seconds=settings.idle_seconds,
                max_length=settings.max_pdu,
            ),
            services=Services(
                storage,
                *self._answering(),
                verification_syntaxes=(IMPLICIT_VR_LITTLE_ENDIAN, *syntaxes),
            ),
            census=self._census,
            admit=self._admit,
            busy=self._busy,
        )
        self._door.start()

    def _answering(self) -> Iterator[Service]:
        if self._archive is not None:
            yield finding(self._settings, self._archive, self._doorkeeper)
            desk = Desk(self._settings, self._archive, self._doorkeeper)
            yield getting(desk)
            yield moving(desk)
            yield committing(self._settings, self._archive)
            yield from scheduling(self._settings, self._archive, self._doorkeeper)

    def _admit(self, request: AssociateRequest, connection: Connection) -> Rejection | Admission:
        caller = Caller(
            request.calling_ae_title,
            request.called_ae_title,
            connection.host,
            connection.certificate_sha256,
        )
        verdict = self._doorkeeper.decide(caller)
        match verdict:
            case Permit():
                standing = Standing(self._doorkeeper, caller)
                return Admission(verdict.max_associations, standing.may)
            case Denied.CALLED:
                return CALLED_AE_UNKNOWN
            case Denied.NO_ROSTER:  # it may well be listed: it is to try again
                return replace(CONGESTION, word=verdict.value)
            case _:
                return replace(CALLING_AE_UNKNOWN, word=verdict.value)

    def leave(self) -> None:
        """Accept nobody, and serve who is here as ever."""
        if self._door is not None:
            self._door.leave()

    @property
    def is_empty(self) -> bool:
        """Whether nobody is connected."""
        return self._door is None or self._door.is_empty

    def drain(self, limit: float) -> None:
        """Accept nobody new, refuse new objects, let current ones finish, then close. It blocks."""
        if self._door is None:
            return
        self._receiver.draining = True
        self._door.refuse_new()
        self._busy.wait_idle(limit * DRAIN_SHARE)
        self._door.close(_CLOSE_SECONDS)
        if self._archive is not None:
            self._archive.close()


async def listen_for_dicom(
    host: str, port: int, *, tls: bool = False, patience: float = 5.0
) -> socket.socket:
    """Return the listening socket of a DICOM port.

    It waits a moment for a port that is taken: by the workers of a run that was just killed.

    Raises:
        ConfigurationError: the port is taken, or the address is not one of this machine.
    """
    deadline = SYSTEM_CLOCK.monotonic() + patience
    while True:
        try:
            listener = listen(host, port)
        except OSError as error:
            if SYSTEM_CLOCK.monotonic() > deadline:
                raise ConfigurationError(
                    f"cannot listen on {host}:{port}: {error.strerror}"
                ) from error
            await asyncio.sleep(0.1)
        else:
            log.info("scp.listening", host=host, port=port, tls=tls)
            return listener
