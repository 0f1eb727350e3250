"""C-STORE as a handler: the data set goes to the spool as it comes (PS3.4 annex B).

This is the hot path. A read takes what the kernel has, up to 512 KiB; the parser says which of it
is data; those views go to the spool in one write; after the last one the answer goes out in one
send.
"""

from collections.abc import Iterator, Sequence

from darkroom_common.dimse.serving import Answer, Handler, Request
from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.dimse.wire.messages import Sink
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics
from darkroom_ingest.receiving.acceptance import Offer
from darkroom_ingest.receiving.receive import Receiver, Reception

log = get_logger(__name__)


class Stored:
    """The sink of an object's bytes."""

    def __init__(self, reception: Reception) -> None:
        self.reception = reception
        self.abandon = reception.abandon

    def write(self, parts: Sequence[memoryview]) -> None:
        """See `Sink`."""
        self.reception.write(parts)
        if self.reception.overrun:
            raise ProtocolError("object-too-long")


def storing(receiver: Receiver) -> Handler:
    """Return the handler of C-STORE."""

    def begin(request: Request) -> Sink:
        return Stored(
            receiver.begin(
                Offer(
                    sop_class_uid=request.command.sop_class_uid,
                    sop_instance_uid=request.command.sop_instance_uid,
                    transfer_syntax_uid=request.context.transfer_syntax,
                    calling_ae_title=request.caller.calling_ae_title,
                    called_ae_title=request.caller.called_ae_title,
                )
            )
        )

    return Handler(_answer, begin)


def _answer(request: Request) -> Iterator[Answer]:
    if isinstance(request.sink, Stored):
        status = request.sink.reception.finish()
    else:
        status = StoreStatus.CANNOT_UNDERSTAND
        metrics.STORE_RESPONSES.labels(str(status)).inc()
        ae = request.caller.calling_ae_title
        log.warning("store.refused", ae=ae, reason="no-data-set", status=str(status))
    yield Answer(status)
