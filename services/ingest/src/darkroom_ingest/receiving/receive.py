"""The write path of the guarantee: admit, write, check, sync, answer.

It runs in the thread of an association, or of an upload, and blocks. What `finish` returns is what
the sender is told; `REFUSED_OUT_OF_RESOURCES` is the answer to everything unexpected, since a
sender takes it as "keep your copy and try again". The bytes of an object go to the spool as they
arrive: memory holds none of them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from opentelemetry.trace import SpanKind

from darkroom_common.clock import monotonic, utc_now
from darkroom_common.dicom.identity import Identity, IdentityReader
from darkroom_common.dicom.limits import DEFAULT_LIMITS, ReadLimits
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.objects.quarantine import QuarantineFull
from darkroom_common.objects.receipt import Receipt
from darkroom_common.objects.spool import Incoming, Spool, SpoolFailed
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.receiving.acceptance import (
    TOO_LARGE,
    Offer,
    Refuse,
    Room,
    SetAside,
    admit,
    fits,
    match,
)
from darkroom_ingest.receiving.digest import Digest

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
LOOK_EVERY: Final = 4 << 20
"""Bytes of one object between two looks at the room that is left."""


@dataclass
class Receiver:
    """Receives objects into a spool and tells `on_ready` of each receipt."""

    spool: Spool
    reserve: int
    max_bytes: int
    on_ready: Callable[[Receipt], None]
    limits: ReadLimits = DEFAULT_LIMITS
    strict_uids: bool = False
    draining: bool = False

    def begin(self, offer: Offer) -> "Reception":
        """Begin to receive an object: write its bytes, then `finish`; or `abandon` it."""
        return Reception(self, offer)

    def room(self) -> Room:
        """Return the state of the volume now."""
        return Room(self.spool.free_bytes(), self.reserve, self.spool.failed)


class Reception:
    """One object on its way into the spool. Nothing here raises: the answer says it."""

    def __init__(self, receiver: Receiver, offer: Offer) -> None:
        self.size = 0
        self.identity: Identity | None = None
        """Once it is known."""
        self.reason = ""
        """Why it is not accepted."""
        self._receiver = receiver
        self._spool = receiver.spool
        self._offer = offer
        self._incoming: Incoming | None = None
        self._refused: StoreStatus | None = None
        self._aside: SetAside | None = None
        self._next_look = LOOK_EVERY
        self._digest = Digest()
        self._reader = IdentityReader(offer.transfer_syntax_uid, receiver.limits)
        self._open = ExitStack()
        self._open.callback(self._digest.close)
        self._span = self._open.enter_context(
            traces.span(
                tracer,
                "C-STORE" if offer.source == "dimse" else "STOW",
                kind=SpanKind.SERVER,
                dicom__sop_class_uid=offer.sop_class_uid,
                dicom__calling_ae_title=offer.calling_ae_title,
            )
        )
        try:
            refused = admit(receiver.room(), draining=receiver.draining)
            if refused is not None:
                self._refuse(refused)
                return
            self._incoming = self._spool.begin()
            self._head = encode_head(
                FileMeta(
                    sop_class_uid=offer.sop_class_uid,
                    sop_instance_uid=offer.sop_instance_uid,
                    transfer_syntax_uid=offer.transfer_syntax_uid,
                    calling_ae_title=offer.calling_ae_title,
                    called_ae_title=offer.called_ae_title,
                    source=offer.source,
                )
            )
            self._spool.write(self._incoming, self._head)
        except Exception as error:  # noqa: BLE001 - told by _fail
            self._fail(error)

    @property
    def overrun(self) -> bool:
        """Whether the sender goes on and on: twice the limit of an object has come."""
        return self.size > 2 * self._receiver.max_bytes

    def write(self, parts: Sequence[memoryview]) -> None:
        """Take the next bytes of the data set; they are not looked at after the return."""
        self.size += sum(map(len, parts))
        if self._incoming is None or self._aside is TOO_LARGE:
            return
        if self.size > self._receiver.max_bytes:
            self._aside = TOO_LARGE
            return
        try:
            self._spool.write(self._incoming, *parts)
            self._look(parts)
            if self.size >= self._next_look:
                self._next_look = self.size + LOOK_EVERY
                refused = fits(self._receiver.room())
                if refused is not None:
                    self._refuse(refused)
        except Exception as error:  # noqa: BLE001 - told by _fail
            self._fail(error)

    def _look(self, parts: Sequence[memoryview]) -> None:
        self._digest.update(parts)
        if self._aside is not None:
            return
        try:
            for part in parts:
                self._reader.feed(part)
        except Unreadable as error:
            self._aside = SetAside(StoreStatus.CANNOT_UNDERSTAND, error.code, error.position)

    def finish(self) -> StoreStatus:
        """Make the object durable after its last byte, and return the answer."""
        began = monotonic()
        try:
            status = self._finish()
        except Exception as error:  # noqa: BLE001 - told by _fail
            status = self._fail(error)
        self._span.set_attribute("dicom.size", self.size)
        self._span.set_attribute("dicom.status", str(status))
        if self.identity is not None:
            traces.about([self.identity.study_instance_uid])
        self._open.close()
        common.STORE_RESPONSES.labels(str(status)).inc()
        metrics.STORE_SECONDS.observe(monotonic() - began)
        return status

    def _finish(self) -> StoreStatus:
        if self._refused is not None or self._incoming is None:
            return self._refused or StoreStatus.REFUSED_OUT_OF_RESOURCES
        verdict = self._judge()
        if isinstance(verdict, SetAside):
            self.reason = verdict.reason
            return self._set_aside(self._incoming, verdict)
        if isinstance(verdict, Refuse):
            self._refuse(verdict)
            return verdict.status
        if self._reader.is_padded:
            self._drop_padding(self._incoming)
        self._spool.commit(self._incoming)
        try:
            self._tell_ready(self._incoming, verdict)
        except Exception:  # it is durable, and the relay looks into the spool by itself
            log.exception("receipt.not_told", receipt=self._incoming.receipt_id)
        return StoreStatus.SUCCESS

    def _judge(self) -> Identity | SetAside | Refuse:
        if self._aside is not None:
            return self._aside
        try:
            self.identity = identity = self._reader.finish()
        except Unreadable as error:
            return SetAside(StoreStatus.CANNOT_UNDERSTAND, error.code, error.position)
        strict = self._receiver.strict_uids
        return match(self._offer, identity, strict_uids=strict) or identity

    def _drop_padding(self, incoming: Incoming) -> None:
        """Cut off the octet that made the message even: it is none of the data set's."""
        self.size -= 1
        self._spool.truncate(incoming, len(self._head) + self.size)
        self._digest.restart()
        for piece in self._spool.written(incoming, len(self._head)):
            self._digest.update([memoryview(piece)])

    def abandon(self) -> None:
        """Forget the object: the association has ended before its last byte."""
        self._drop()
        self._span.set_attribute("dicom.status", "aborted")
        self._open.close()

    def _tell_ready(self, incoming: Incoming, identity: Identity) -> None:
        for flag in identity.flags:
            metrics.ODD_OBJECTS.labels(flag).inc()
        metrics.RECEIVED_BYTES.inc(self.size)
        metrics.OBJECT_BYTES.observe(self.size)
        receipt = Receipt(
            id=incoming.receipt_id,
            identity=identity,
            transfer_syntax_uid=self._offer.transfer_syntax_uid,
            sha256=self._digest.hexdigest(),
            size=self.size,
            data_set_offset=len(self._head),
            calling_ae_title=self._offer.calling_ae_title,
            called_ae_title=self._offer.called_ae_title,
            received_at=utc_now(),
            source=self._offer.source,
            trace=traces.inject(),
        )
        log.info(
            "instance.received",
            receipt=receipt.id,
            ae=receipt.calling_ae_title,
            size=self.size,
            sop_instance_uid=identity.sop_instance_uid,
        )
        self._receiver.on_ready(receipt)

    def _drop(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            self._spool.abandon(incoming)

    def _refuse(self, refused: Refuse) -> None:
        self._refused, self.reason = refused.status, refused.reason
        log.warning(
            "store.refused",
            ae=self._offer.calling_ae_title,
            reason=refused.reason,
            status=str(refused.status),
            size=self.size,
        )
        self._drop()

    def _fail(self, error: Exception) -> StoreStatus:
        if isinstance(error, SpoolFailed):
            log.error("store.failed", ae=self._offer.calling_ae_title, reason=str(error))
        else:
            log.error("store.failed", ae=self._offer.calling_ae_title, exc_info=error)
        self._refused, self.reason = StoreStatus.REFUSED_OUT_OF_RESOURCES, "failed"
        try:
            self._drop()
        except OSError as failed:
            log.error("store.not_dropped", reason=failed.strerror)
        return self._refused

    def _set_aside(self, incoming: Incoming, aside: SetAside) -> StoreStatus:
        told: dict[str, object] = {
            "status": str(aside.status),
            "size": self.size,
            "position": aside.position,
            "calling_ae_title": self._offer.calling_ae_title,
            "sop_class_uid": self._offer.sop_class_uid,
            "transfer_syntax_uid": self._offer.transfer_syntax_uid,
        }
        try:
            self._spool.set_aside(incoming, reason=aside.reason, told=told)
        except QuarantineFull:
            metrics.QUARANTINE_REFUSED.labels(aside.reason).inc()
            log.error(
                "instance.not_quarantined",
                receipt=incoming.receipt_id,
                reason=aside.reason,
                ae=self._offer.calling_ae_title,
                status=str(aside.status),
                size=self.size,
            )
            self._drop()
            return aside.status
        metrics.QUARANTINED.labels(aside.reason).inc()
        log.warning(
            "instance.quarantined",
            receipt=incoming.receipt_id,
            reason=aside.reason,
            ae=self._offer.calling_ae_title,
            status=str(aside.status),
            size=self.size,
        )
        return aside.status
