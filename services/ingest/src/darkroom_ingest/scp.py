"""The C-ECHO and C-STORE SCP: pynetdicom's association handling in front of `Receiver`.

pynetdicom runs a thread an association. Its handlers never raise: an exception would be answered
with 0xC211, which senders read as permanent.
"""

import asyncio
import logging
from typing import Any, Final

from pynetdicom import AE, _config, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import register_uid

from darkroom_common.dimse.bridge import LoopBridge
from darkroom_common.dimse.contexts import VERIFICATION, storage_sop_classes, transfer_syntaxes
from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.errors import ConfigurationError
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.domain.acceptance import Offer
from darkroom_ingest.receive import Receiver
from darkroom_ingest.settings import IngestSettings

log = get_logger(__name__)
NETWORK_TIMEOUT: Final = 60  # seconds without a word on an open association
ACSE_TIMEOUT: Final = 30
DRAIN_SHARE: Final = 0.6
"""Part of the drain time that open associations get before they are aborted."""


class StorageScp:
    """Listens on the DICOM port."""

    def __init__(self, settings: IngestSettings, receiver: Receiver, bridge: LoopBridge) -> None:
        self._settings = settings
        self._receiver = receiver
        self._bridge = bridge
        self._server: Any = None
        _config.LOG_REQUEST_IDENTIFIERS = False
        _config.LOG_RESPONSE_IDENTIFIERS = False
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

    def _entity(self) -> AE:
        entity = AE(ae_title=self._settings.ae_title)
        entity.maximum_associations = self._settings.max_associations
        entity.maximum_pdu_size = self._settings.max_pdu
        entity.acse_timeout = ACSE_TIMEOUT
        entity.dimse_timeout = NETWORK_TIMEOUT
        entity.network_timeout = NETWORK_TIMEOUT
        entity.require_called_aet = self._settings.require_called_ae_title
        syntaxes = list(transfer_syntaxes())
        entity.add_supported_context(VERIFICATION)
        known = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
        for uid in (*storage_sop_classes(), *self._settings.private_sop_classes):
            if uid not in known:
                keyword = "Darkroom" + uid.replace(".", "_")
                register_uid(uid, keyword, StorageServiceClass)
            entity.add_supported_context(uid, syntaxes)
        return entity

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the port is taken.
        """
        address = (self._settings.dicom_host, self._settings.dicom_port)
        try:
            self._server = self._entity().start_server(
                address,
                block=False,
                evt_handlers=[
                    (evt.EVT_C_ECHO, self._echo),
                    (evt.EVT_C_STORE, self._store),
                    (evt.EVT_ACCEPTED, self._accepted),
                    (evt.EVT_REJECTED, self._rejected),
                    (evt.EVT_RELEASED, self._released),
                    (evt.EVT_ABORTED, self._aborted),
                ],
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {address[0]}:{address[1]}: {error.strerror}"
            ) from error
        log.info("scp.listening", host=address[0], port=address[1], ae=self._settings.ae_title)

    def _echo(self, event: evt.Event) -> int:
        log.info("echo.answered", ae=event.assoc.requestor.ae_title)
        return 0x0000

    def _store(self, event: evt.Event) -> int:
        with self._bridge.working():
            try:
                request: Any = event.request
                association: Any = event.assoc
                with request.DataSet.getbuffer() as data_set:
                    offer = Offer(
                        sop_class_uid=str(request.AffectedSOPClassUID),
                        sop_instance_uid=str(request.AffectedSOPInstanceUID),
                        transfer_syntax_uid=str(event.context.transfer_syntax),
                        calling_ae_title=association.requestor.ae_title.strip(),
                        called_ae_title=association.requestor.primitive.called_ae_title.strip(),
                        size=len(data_set),
                    )
                    return int(self._receiver.receive(offer, data_set))
            except Exception:
                log.exception("store.failed")
                return int(StoreStatus.REFUSED_OUT_OF_RESOURCES)

    def _accepted(self, event: evt.Event) -> None:
        metrics.ASSOCIATIONS.labels("accepted").inc()
        metrics.ASSOCIATIONS_OPEN.inc()
        log.info("association.accepted", ae=event.assoc.requestor.ae_title)

    def _rejected(self, event: evt.Event) -> None:
        metrics.ASSOCIATIONS.labels("rejected").inc()
        log.warning("association.rejected", ae=event.assoc.requestor.ae_title)

    def _released(self, event: evt.Event) -> None:
        metrics.ASSOCIATIONS.labels("released").inc()
        metrics.ASSOCIATIONS_OPEN.dec()
        log.info("association.released", ae=event.assoc.requestor.ae_title)

    def _aborted(self, event: evt.Event) -> None:
        metrics.ASSOCIATIONS.labels("aborted").inc()
        if event.assoc.is_established or event.assoc.accepted_contexts:
            metrics.ASSOCIATIONS_OPEN.dec()
        log.warning("association.aborted", ae=event.assoc.requestor.ae_title)

    async def drain(self, limit: float) -> None:
        """Accept nobody new, refuse new objects, let current ones finish, then close."""
        if self._server is None:
            return
        self._receiver.draining = True
        await asyncio.to_thread(self._close, limit * DRAIN_SHARE)

    def _close(self, limit: float) -> None:
        self._bridge.wait_idle(limit)
        self._server.shutdown()
