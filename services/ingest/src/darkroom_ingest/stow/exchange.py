"""One request of the api and its answer (see `darkroom_common.stow.handover`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.trace import SpanKind

from darkroom_common.clock import monotonic
from darkroom_common.dimse.connection import Connection, PeerGone
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.http.exchange import answer_of
from darkroom_common.http.limits import Limits
from darkroom_common.http.wire import BadRequest, Head, Mark, Reader
from darkroom_common.stow.handover import PATH, PROOF, STUDY, Outcome, Proof
from darkroom_common.stow.multipart import PartLimits
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.receiving.acceptance import admit
from darkroom_ingest.stow.body import Body, NotTaken
from darkroom_ingest.stow.parts import Intake

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
_LIMITS: Final = Limits(head_bytes=16 * 1024, line_bytes=1024, fields=30)
_HEAD_SECONDS: Final = 10.0
_AROUND_SECONDS: Final = 90.0
"""The api lets nobody be slower than 1 KiB a second: time for the longest preamble."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Exchange:
    """What requests are answered with.

    Attributes:
        intake: what objects are received with.
        proof: by which the api is known.
        limits: on what stands around parts.
        stall_seconds: in which a byte of a part must come.
        around_seconds: for all that stands before a part, and for what follows that is passed
            over; whoever takes longer is answered, and what follows is not read.
    """

    intake: Intake
    proof: Proof
    limits: PartLimits
    stall_seconds: float
    around_seconds: float = _AROUND_SECONDS

    def run(self, connection: Connection, proved: Callable[[], bool]) -> None:
        """Answer the one request of a connection, and end it.

        Args:
            connection: of anybody.
            proved: hears that it is the api's, and tells whether it still has its room.
        """
        reader = Reader(_LIMITS)
        try:
            head = self._head(connection, reader)
            status, answer = self._answer(connection, reader, head, proved)
        except BadRequest as error:
            status, answer = error.status, b""
        except (PeerGone, ProtocolError) as error:
            log.info("stow.broken_off", reason=str(error))
            connection.close()
            return
        connection.hang_up(answer_of(status, {"content-type": "application/json"}, answer))

    @staticmethod
    def _head(connection: Connection, reader: Reader) -> Head:
        deadline = monotonic() + _HEAD_SECONDS
        while not isinstance(event := reader.next(), Head):
            reader.feed(connection.read(deadline))
        return event

    def _answer(
        self, connection: Connection, reader: Reader, head: Head, proved: Callable[[], bool]
    ) -> tuple[int, bytes]:
        fields = {name.decode("ascii"): value.decode("latin-1") for name, value in head.fields}
        content_type, study = fields.get("content-type", ""), fields.get(STUDY, "")
        if not self.proof.holds(fields.get(PROOF, ""), content_type, study):
            return 401, b""
        if (head.method, head.path) != ("POST", PATH):
            return 404, b""
        if not proved():
            return 503, b""
        return self._store(connection, reader, head, fields)

    def _store(
        self, connection: Connection, reader: Reader, head: Head, fields: Mapping[str, str]
    ) -> tuple[int, bytes]:
        receiver = self.intake.receiver
        refused = admit(receiver.room(), draining=receiver.draining)
        if refused is not None:
            metrics.STOW_OBJECTS.labels(refused.reason).inc()
            log.warning("stow.refused", reason=refused.reason)
            return 503, b""
        try:
            body = Body(
                fields.get("content-type", ""),
                self.intake.of_study(fields.get(STUDY, "")),
                self.limits,
            )
        except NotTaken as error:
            return error.status, b""
        with (
            metrics.STOW_UPLOADS.track_inprogress(),
            traces.span(tracer, "STOW", kind=SpanKind.SERVER, parent=traces.extract(fields)),
        ):
            try:
                if head.wants_continue:
                    connection.send(_CONTINUE)
                self._receive(connection, reader, body)
                outcome = body.finish()
            finally:
                body.abandon()
        told(outcome)
        return 200, outcome.model_dump_json(exclude_defaults=True).encode()

    def _receive(self, connection: Connection, reader: Reader, body: Body) -> None:
        around = monotonic() + self.around_seconds
        while True:
            event = reader.next()
            if event is Mark.END:
                return
            if isinstance(event, bytes):
                metrics.STOW_BYTES.inc(len(event))
                body.feed(event)
                continue
            now = monotonic()
            if body.is_within_part:
                around = now + self.around_seconds
                reader.feed(connection.read(now + self.stall_seconds))
                continue
            try:
                reader.feed(connection.read(around))
            except PeerGone:
                if monotonic() < around:
                    raise
                return


def told(outcome: Outcome) -> None:
    """Log what has become of a body."""
    failed = sum(item.failure != 0 for item in outcome.items)
    log.info(
        "stow.ended", stored=len(outcome.items) - failed, failed=failed, fault=outcome.fault or None
    )
