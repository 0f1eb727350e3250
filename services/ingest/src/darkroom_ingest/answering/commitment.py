"""Storage commitment as a handler (PS3.4 annex J): transmit keeps the request, looks, and calls.

A request is answered when transmit has it in the database. While the association stays open and
its requestor says nothing else, it is told there what is kept; else transmit calls it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from opentelemetry.trace import SpanKind
from pydantic import ValidationError
from pydicom.dataset import Dataset

from darkroom_common.clock import monotonic
from darkroom_common.dimse.back_channel import BackChannel
from darkroom_common.dimse.serving import Answer, Handler, Request, Service
from darkroom_common.dimse.statuses import (
    DUPLICATE_TRANSACTION,
    INVALID_ARGUMENT,
    MISSING_ATTRIBUTE,
    MISSING_ATTRIBUTE_VALUE,
    NO_SUCH_ACTION,
    NO_SUCH_SOP_INSTANCE,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
)
from darkroom_common.dimse.users.commitment import (
    REQUEST,
    STORAGE_COMMITMENT,
    WELL_KNOWN,
    Report,
    encode_report,
)
from darkroom_common.dimse.wire.command import CommandField, Element, error_comment
from darkroom_common.dimse.wire.messages import InMemory
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.errors import TransientError
from darkroom_common.messages.requests import FollowCommitment, TakeCommitment
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.answering.archive import Archive
from darkroom_ingest.settings import IngestSettings

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
DATA_LIMIT: Final = 8 << 20
"""Bytes of a request: some 50,000 instances."""
OPEN_SECONDS: Final = 10.0
"""In which what was found is told on the association that has asked."""
ANSWER_SECONDS: Final = 10.0
"""In which its requestor has to take that."""
_FIRST_LOOK: Final = 0.02
_LAST_LOOK: Final = 0.5
_LATER: Final = 1.3


Step = Literal["look", "told", "gone"]


class _Refused(Exception):
    """A request that is not taken. Its text has no value of it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def committing(settings: IngestSettings, archive: Archive) -> Service:
    """Return the service of storage commitment, push model."""
    promises = Promises(archive, settings.commitment_instances)
    handler = Handler(promises.answer, lambda _: InMemory(DATA_LIMIT))
    return Service((STORAGE_COMMITMENT,), {CommandField.N_ACTION: handler})


@dataclass(frozen=True)
class Promises:
    """Takes requests for commitment, and tells what came of them while it can.

    Attributes:
        most: instances of one request.
    """

    archive: Archive
    most: int

    def answer(self, request: Request) -> Iterator[Answer]:
        """Answer a request, then tell what is kept if the requestor waits for it."""
        caller = request.caller.calling_ae_title
        refused: Answer | None = None
        with traces.span(
            tracer, "N-ACTION SCP commitment", kind=SpanKind.SERVER, darkroom__ae=caller
        ):
            try:
                asked = self._take(request)
            except _Refused as error:
                refused = Answer(error.status, elements=error_comment(str(error)))
                log.warning(
                    "commitment.not_taken",
                    ae=caller,
                    peer=request.host,
                    status=f"{error.status:04X}",
                    reason=str(error),
                )
        if refused is not None:
            yield refused
            return
        yield Answer(SUCCESS, elements={Element.ACTION_TYPE: REQUEST})
        if request.back is not None:
            self._tell(asked, request, request.back)

    def _take(self, request: Request) -> TakeCommitment:
        """Have a request kept.

        Raises:
            _Refused: it is none, or nobody can keep it now.
        """
        command = request.command
        if command.sop_instance_uid != WELL_KNOWN:
            raise _Refused(NO_SUCH_SOP_INSTANCE, "not the well-known instance")
        if command.short(Element.ACTION_TYPE) != REQUEST:
            raise _Refused(NO_SUCH_ACTION, "not action type 1")
        try:
            asked = self._parsed(request.data_set(), request)
        except ProtocolError as error:
            raise _Refused(PROCESSING_FAILURE, error.code) from error
        try:
            reply = self.archive.ask(asked)
        except TransientError as error:
            raise _Refused(PROCESSING_FAILURE, "what keeps requests is away") from error
        if reply.outcome == "conflict":
            raise _Refused(DUPLICATE_TRANSACTION, "the transaction has other instances")
        if reply.outcome != "done":
            raise _Refused(PROCESSING_FAILURE, "what keeps requests is away")
        return asked

    def _parsed(self, data_set: Dataset, request: Request) -> TakeCommitment:
        transaction = str(data_set.get("TransactionUID", "") or "").strip()
        if not transaction:
            raise _Refused(MISSING_ATTRIBUTE, "no transaction UID")
        items: Any = data_set.get("ReferencedSOPSequence") or []
        if not items:
            raise _Refused(MISSING_ATTRIBUTE_VALUE, "no instances")
        if len(items) > self.most:
            raise _Refused(RESOURCE_LIMITATION, "more than COMMITMENT_INSTANCES")
        named: dict[str, str] = {}
        for item in items:
            uid = str(item.get("ReferencedSOPInstanceUID", "") or "").strip()
            named.setdefault(uid, str(item.get("ReferencedSOPClassUID", "") or "").strip())
        try:
            return TakeCommitment(
                transaction_uid=transaction,
                calling_ae_title=request.caller.calling_ae_title,
                called_ae_title=request.caller.called_ae_title,
                sop_class_uids=tuple(named.values()),
                sop_instance_uids=tuple(named),
            )
        except ValidationError as error:
            raise _Refused(INVALID_ARGUMENT, "a UID that can be none") from error

    def _tell(self, asked: TakeCommitment, request: Request, back: BackChannel) -> None:
        """Tell on the association that has asked, and say what came of that."""
        step: Step = "gone"
        try:
            failed = self._found(asked, back)
            if failed is not None and self._report(asked, failed, request, back):
                step = "told"
        except TransientError as error:  # transmit calls in its time
            log.info("commitment.not_followed", reason=type(error).__name__)
        finally:
            self._say(asked, step)

    def _say(self, asked: TakeCommitment, step: Step) -> None:
        log.info("commitment.answered_here", ae=asked.calling_ae_title, step=step)
        try:
            self.archive.ask(_following(asked, step))
        except TransientError as error:
            log.info("commitment.not_followed", reason=type(error).__name__)

    def _found(self, asked: TakeCommitment, back: BackChannel) -> dict[str, int] | None:
        """Wait until all was looked at; None when the requestor goes on meanwhile, or it is long.

        Raises:
            TransientError: transmit cannot say.
            PeerGone, ProtocolError: the association is over.
        """
        pause, deadline = _FIRST_LOOK, monotonic() + OPEN_SECONDS
        while monotonic() < deadline:
            reply = self.archive.ask(_following(asked, "look"), pause=pause)
            if back.goes_on():
                return None
            if "failed" in reply.body:
                return dict(reply.body["failed"])
            pause = min(_LAST_LOOK, pause * _LATER)
        return None

    @staticmethod
    def _report(
        asked: TakeCommitment, failed: dict[str, int], request: Request, back: BackChannel
    ) -> bool:
        """Tell what is kept; return whether that was taken."""
        message_id, context = back.next_message_id(), request.context
        number = back.number_of(context)
        report = Report(
            asked.transaction_uid,
            dict(zip(asked.sop_instance_uids, asked.sop_class_uids, strict=True)),
            failed,
            retrieve_ae=asked.called_ae_title,
        )
        command, data_set = encode_report(report, message_id, context.transfer_syntax)
        back.ask(number, command, data_set)
        answer = back.answer_if_any(message_id, seconds=ANSWER_SECONDS)
        return answer is not None and answer.status == SUCCESS


def _following(asked: TakeCommitment, step: Step) -> FollowCommitment:
    return FollowCommitment(
        transaction_uid=asked.transaction_uid, calling_ae_title=asked.calling_ae_title, step=step
    )
