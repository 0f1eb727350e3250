"""The write path of the guarantee: admit, write, check, sync, answer.

It runs in the thread of an association and blocks. What it returns is what the sender is told;
`REFUSED_OUT_OF_RESOURCES` is the answer to everything unexpected, since a sender takes it as
"keep your copy and try again".
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from opentelemetry.trace import SpanKind

from darkroom_common.dicom.identity import read_identity
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.objects.receipt import Receipt
from darkroom_common.objects.spool import Incoming, Spool, SpoolFailed
from darkroom_common.telemetry import metrics, traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.domain.acceptance import Offer, Refuse, Room, SetAside, admit, match

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)


@dataclass
class Receiver:
    """Receives objects into a spool and tells `on_ready` of each receipt."""

    spool: Spool
    reserve: int
    max_bytes: int
    on_ready: Callable[[Receipt], None]
    draining: bool = False

    def receive(self, offer: Offer, data_set: memoryview) -> StoreStatus:
        """Make one object durable and return the answer to its C-STORE."""
        began = time.perf_counter()
        with traces.span(
            tracer,
            "C-STORE",
            kind=SpanKind.SERVER,
            dicom__sop_class_uid=offer.sop_class_uid,
            dicom__calling_ae_title=offer.calling_ae_title,
            dicom__size=offer.size,
        ) as span:
            try:
                status = self._receive(offer, data_set)
            except SpoolFailed as error:
                log.error("store.failed", ae=offer.calling_ae_title, reason=str(error))
                status = StoreStatus.REFUSED_OUT_OF_RESOURCES
            except Exception:
                log.exception("store.failed", ae=offer.calling_ae_title)
                status = StoreStatus.REFUSED_OUT_OF_RESOURCES
            span.set_attribute("dicom.status", str(status))
        metrics.STORE_RESPONSES.labels(str(status)).inc()
        metrics.STORE_SECONDS.observe(time.perf_counter() - began)
        return status

    def _receive(self, offer: Offer, data_set: memoryview) -> StoreStatus:
        room = Room(self.spool.free_bytes(), self.reserve, self.spool.failed)
        refused = admit(offer, room, max_bytes=self.max_bytes, draining=self.draining)
        if refused is not None:
            self._tell_refusal(offer, refused)
            return refused.status
        incoming = self.spool.begin()
        try:
            head = encode_head(
                FileMeta(
                    sop_class_uid=offer.sop_class_uid,
                    sop_instance_uid=offer.sop_instance_uid,
                    transfer_syntax_uid=offer.transfer_syntax_uid,
                    calling_ae_title=offer.calling_ae_title,
                    called_ae_title=offer.called_ae_title,
                )
            )
            self.spool.write(incoming, head, data_set)
            try:
                identity = read_identity(data_set, offer.transfer_syntax_uid)
            except Unreadable as error:
                aside = SetAside(StoreStatus.CANNOT_UNDERSTAND, error.code)
                return self._set_aside(incoming, offer, aside)
            wrong = match(offer, identity)
            if wrong is not None:
                return self._set_aside(incoming, offer, wrong)
            digest = hashlib.sha256(data_set).hexdigest()
            self.spool.commit(incoming)
        except BaseException:
            self.spool.abandon(incoming)
            raise
        if "nonconformant-uid" in identity.flags:
            metrics.NONCONFORMANT_UID.inc()
        metrics.RECEIVED_BYTES.inc(offer.size)
        metrics.OBJECT_BYTES.observe(offer.size)
        receipt = Receipt(
            id=incoming.receipt_id,
            identity=identity,
            transfer_syntax_uid=offer.transfer_syntax_uid,
            sha256=digest,
            size=offer.size,
            data_set_offset=len(head),
            calling_ae_title=offer.calling_ae_title,
            called_ae_title=offer.called_ae_title,
            received_at=datetime.now(UTC),
            trace=traces.inject(),
        )
        log.info(
            "instance.received", receipt=receipt.id, ae=offer.calling_ae_title, size=offer.size,
            sop_instance_uid=offer.sop_instance_uid,
        )  # fmt: skip
        self.on_ready(receipt)
        return StoreStatus.SUCCESS

    def _tell_refusal(self, offer: Offer, refused: Refuse) -> None:
        log.warning(
            "store.refused", ae=offer.calling_ae_title, reason=refused.reason,
            status=str(refused.status), size=offer.size,
        )  # fmt: skip

    def _set_aside(self, incoming: Incoming, offer: Offer, aside: SetAside) -> StoreStatus:
        self.spool.set_aside(
            incoming,
            reason=aside.reason,
            told={
                "status": str(aside.status),
                "size": offer.size,
                "calling_ae_title": offer.calling_ae_title,
                "sop_class_uid": offer.sop_class_uid,
                "transfer_syntax_uid": offer.transfer_syntax_uid,
            },
        )
        metrics.QUARANTINED.labels(aside.reason).inc()
        log.warning(
            "instance.quarantined", receipt=incoming.receipt_id, ae=offer.calling_ae_title,
            reason=aside.reason, status=str(aside.status), size=offer.size,
        )  # fmt: skip
        return aside.status
