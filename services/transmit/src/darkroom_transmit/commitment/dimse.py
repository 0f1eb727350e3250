"""The DIMSE of storage commitment: N-ACTION out, N-EVENT-REPORT in (PS3.4 annex J)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse.requestor import (
    Association,
    Peer,
    PeerFault,
    associate,
    faults,
    in_memory,
)
from darkroom_common.dimse.serving import Answer, Handler, Request
from darkroom_common.dimse.statuses import INVALID_ARGUMENT, PROCESSING_FAILURE, SUCCESS
from darkroom_common.dimse.users.commitment import (
    REQUEST,
    STORAGE_COMMITMENT,
    WELL_KNOWN,
    referenced,
)
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.command import (
    CommandField,
    Element,
    Value,
    encode_command,
    encode_response,
)
from darkroom_common.dimse.wire.data_set import SYNTAXES, decode_data_set, encode_data_set
from darkroom_common.dimse.wire.messages import InMemory, Message
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
DATA_LIMIT: Final = 16 << 20
"""Bytes of a report: some 100,000 instances."""


@dataclass(frozen=True)
class Report:
    """What a destination says of a transaction.

    Attributes:
        failed: SOP instance UID to the failure reason, PS3.3 C.14.1.1.
        host: the address that it comes from; empty on an association that we have opened.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: dict[str, int]
    ae_title: str
    host: str = ""


Settle = Callable[[Report], bool | None]
"""Keeps a report: True when kept, False when the transaction is not known, None to ask again."""


def encode_request(
    transaction_uid: str, references: Sequence[tuple[str, str]], syntax: str
) -> bytes:
    """Return the data set of the N-ACTION: (SOP class, SOP instance) of each instance."""
    data_set = Dataset()
    data_set.TransactionUID = transaction_uid
    data_set.ReferencedSOPSequence = referenced(references)
    return encode_data_set(data_set, syntax)


def decode_report(data_set: bytes, syntax: str, *, ae_title: str, host: str = "") -> Report:
    """Return what the data set of an N-EVENT-REPORT says.

    Raises:
        ProtocolError: it cannot be read.
    """
    read = decode_data_set(data_set, syntax)
    try:
        return Report(
            transaction_uid=str(read.TransactionUID),
            committed=frozenset(
                str(item.ReferencedSOPInstanceUID) for item in read.get("ReferencedSOPSequence", [])
            ),
            failed={
                str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason", 0))
                for item in read.get("FailedSOPSequence", [])
            },
            ae_title=ae_title,
            host=host,
        )
    except Exception as error:  # pydicom raises whatever it stumbles over
        raise ProtocolError("bad-report") from error


def _settled(report: Report, settle: Settle) -> int:
    """Settle a report; return the status that it is answered with."""
    kept = settle(report)
    if kept is None:
        return PROCESSING_FAILURE
    return SUCCESS if kept else INVALID_ARGUMENT


def taking_reports(settle: Settle) -> Handler:
    """Return the handler of N-EVENT-REPORT on associations that destinations open."""

    def answer(request: Request) -> Iterator[Answer]:
        data = bytes(request.sink.data) if isinstance(request.sink, InMemory) else b""
        syntax, caller = request.context.transfer_syntax, request.caller.calling_ae_title
        status = _settled(decode_report(data, syntax, ae_title=caller, host=request.host), settle)
        yield Answer(status, elements=_event_type(request.command.short(Element.EVENT_TYPE)))

    return Handler(answer, lambda _: InMemory(DATA_LIMIT))


def _event_type(number: int) -> dict[int, Value]:
    return {Element.EVENT_TYPE: number}


def ask(
    peer: Peer,
    transaction_uid: str,
    references: Sequence[tuple[str, str]],
    *,
    wait_seconds: float,
    settle: Settle,
) -> None:
    """Ask for commitment, then wait a while for the report on the same association. It blocks.

    Raises:
        PeerFault: it was not asked: refused, not supported, or the peer is away.
    """
    proposals = [Proposal(STORAGE_COMMITMENT, (syntax,)) for syntax in SYNTAXES]
    association = associate(peer, proposals, in_memory(DATA_LIMIT))
    try:
        _Asking(association, settle).ask(transaction_uid, references, wait_seconds)
    except BaseException:
        association.abort()
        raise
    association.release()


class _Asking:
    """One request on one association, and the report if it comes there."""

    def __init__(self, association: Association, settle: Settle) -> None:
        self._association = association
        self._settle = settle
        self._reported = False

    def ask(
        self, transaction_uid: str, references: Sequence[tuple[str, str]], wait_seconds: float
    ) -> None:
        association = self._association
        pair = next((p for p in association.accepted if p[0] == STORAGE_COMMITMENT), None)
        if pair is None:
            raise PeerFault("CommitmentNotSupported", transient=False)
        message_id = association.next_message_id()
        named: dict[int, Value] = {
            Element.REQUESTED_SOP_CLASS: STORAGE_COMMITMENT,
            Element.MESSAGE_ID: message_id,
            Element.REQUESTED_SOP_INSTANCE: WELL_KNOWN,
            Element.ACTION_TYPE: REQUEST,
        }
        association.ask(
            association.accepted[pair],
            encode_command(CommandField.N_ACTION, named, data_set=True),
            encode_request(transaction_uid, references, pair[1]),
        )
        self.await_response(message_id)
        if not self._reported:
            self._await_report(SYSTEM_CLOCK.monotonic() + wait_seconds)

    def await_response(self, message_id: int) -> None:
        """Wait until the peer has taken the request; the report may come before."""
        status = self._association.response(message_id, take=self._take).command.status
        if status:
            raise PeerFault(f"CommitmentRefused{status:04X}")

    def _await_report(self, deadline: float) -> None:
        """Wait for a report; that none comes, or the peer goes, is no fault: it may call back."""
        try:
            taken = self._take(self._association.receive(deadline))
            log.debug("commitment.reported_at_once", taken=taken)
        except PeerFault as fault:
            log.debug("commitment.not_on_this_association", reason=fault.reason)

    def _take(self, message: Message) -> bool:
        """Settle and answer a report; return whether it is one.

        Raises:
            PeerFault: it cannot be read, or the answer cannot be sent.
        """
        command, association = message.command, self._association
        if command.is_response or command.field != CommandField.N_EVENT_REPORT:
            return False
        syntax = association.contexts[message.context].transfer_syntax
        called = association.peer.called_ae_title
        with faults():
            report = decode_report(message.data_set, syntax, ae_title=called)
            status = _settled(report, self._settle)
            event_type = _event_type(command.short(Element.EVENT_TYPE))
        association.ask(message.context, encode_response(command, status, elements=event_type))
        self._reported = True
        return True
