"""The DIMSE of storage commitment: N-ACTION out, N-EVENT-REPORT in (PS3.4 annex J)."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from darkroom_common.dimse.acceptor import Accepted
from darkroom_common.dimse.connection import PeerGone
from darkroom_common.dimse.proposal import Proposal
from darkroom_common.dimse.requestor import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    Association,
    MessageAssembler,
    Peer,
    PeerFault,
    ReceivedMessage,
    associate,
)
from darkroom_common.dimse.wire.command import (
    decode_event_report,
    decode_response,
    encode_action_request,
    encode_event_response,
)
from darkroom_common.dimse.wire.pdu import (
    ControlPdu,
    PduKind,
    PduParser,
    ProtocolError,
    encode_abort,
    encode_data,
    encode_release_response,
)
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
_WELL_KNOWN: Final = b"1.2.840.10008.1.20.1.1"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_REQUEST: Final = 1
DATA_LIMIT: Final = 16 << 20
"""Bytes of a report: some 100,000 instances."""
MAX_LENGTH: Final = 131_072
_IDLE_SECONDS: Final = 60.0
_SUCCESS: Final = 0x0000
_PROCESSING_FAILURE: Final = 0x0110
_INVALID_ARGUMENT: Final = 0x0115


@dataclass(frozen=True)
class Report:
    """What a destination says of a transaction.

    Attributes:
        failed: SOP instance UID to the failure reason, PS3.3 C.14.1.1.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: dict[str, int]
    ae_title: str


Settle = Callable[[Report], bool | None]
"""Keeps a report: True when kept, False when the transaction is not known, None to ask again."""


def encode_request(
    transaction_uid: str, references: Sequence[tuple[str, str]], syntax: str
) -> bytes:
    """Return the data set of the N-ACTION: (SOP class, SOP instance) of each instance."""
    data_set = Dataset()
    data_set.TransactionUID = transaction_uid
    items = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = sop_instance
        items.append(item)
    data_set.ReferencedSOPSequence = items
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = syntax == IMPLICIT_VR_LITTLE_ENDIAN
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def decode_report(data_set: bytes, syntax: str, *, ae_title: str) -> Report:
    """Return what the data set of an N-EVENT-REPORT says.

    Raises:
        ProtocolError: it cannot be read.
    """
    try:
        implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN
        read: Any = read_dataset(io.BytesIO(data_set), implicit, is_little_endian=True)
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
        )
    except Exception as error:  # pydicom raises whatever it stumbles over
        raise ProtocolError("bad-report") from error


def _answer(message: ReceivedMessage, syntax: str, ae_title: str, settle: Settle) -> bytes:
    """Return the response to a message; an N-EVENT-REPORT is settled first.

    Raises:
        ProtocolError: it is another message, or cannot be read.
    """
    report = decode_event_report(message.command)
    if report is None:
        raise ProtocolError("unexpected-message")
    kept = settle(decode_report(message.data_set, syntax, ae_title=ae_title))
    status = _SUCCESS if kept else _PROCESSING_FAILURE if kept is None else _INVALID_ARGUMENT
    return encode_event_response(report, status)


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
    association = associate(peer, proposals)
    try:
        _ask(association, transaction_uid, references, wait_seconds, settle)
    except BaseException:
        association.abort()
        raise
    association.release()


def _ask(
    association: Association,
    transaction_uid: str,
    references: Sequence[tuple[str, str]],
    wait_seconds: float,
    settle: Settle,
) -> None:
    peer = association.peer
    pair = next((p for p in association.accepted if p[0] == STORAGE_COMMITMENT), None)
    if pair is None:
        raise PeerFault("CommitmentNotSupported", transient=False)
    context, syntax = association.accepted[pair], pair[1]
    message_id = association.next_message_id()
    command = encode_action_request(message_id, STORAGE_COMMITMENT.encode(), _WELL_KNOWN, _REQUEST)
    association.ask(context, command, encode_request(transaction_uid, references, syntax))
    if not _await_response(association, message_id, syntax, peer, settle):
        _await_report(association, syntax, peer, settle, time.monotonic() + wait_seconds)


def _await_response(
    association: Association, message_id: int, syntax: str, peer: Peer, settle: Settle
) -> bool:
    """Return whether the report has come before the response."""
    deadline = time.monotonic() + peer.answer_seconds
    reported = False
    while True:
        message = association.receive(deadline, data_limit=DATA_LIMIT)
        try:
            if decode_event_report(message.command) is not None:
                answer = _answer(message, syntax, peer.called_ae_title, settle)
                association.ask(message.context, answer, b"")
                reported = True
                continue
            response = decode_response(message.command)
        except ProtocolError as error:
            raise PeerFault("ProtocolError", error.code) from error
        if response.responded_to != message_id:
            raise PeerFault("ProtocolError", "a response to another message")
        if response.status:
            raise PeerFault(f"CommitmentRefused{response.status:04X}")
        return reported


def _await_report(
    association: Association, syntax: str, peer: Peer, settle: Settle, deadline: float
) -> None:
    """Wait for a report; that none comes, or the peer goes, is no fault: it may call back."""
    try:
        message = association.receive(deadline, data_limit=DATA_LIMIT)
        answer = _answer(message, syntax, peer.called_ae_title, settle)
        association.ask(message.context, answer, b"")
    except PeerFault as fault:
        log.debug("commitment.not_on_this_association", reason=fault.reason)
    except ProtocolError as error:
        log.warning("commitment.unreadable", ae=peer.called_ae_title, reason=error.code)


def serve(accepted: Accepted, settle: Settle) -> None:
    """Take reports on an association that a destination has opened, to its end."""
    connection = accepted.connection
    try:
        _serve(accepted, settle)
    except PeerGone as error:
        log.info("association.ended", peer=connection.host, reason=error.code)
    except ProtocolError as error:
        log.warning("association.aborted", peer=connection.host, reason=error.code)
        connection.hang_up(encode_abort(error.reason))


def _serve(accepted: Accepted, settle: Settle) -> None:
    connection = accepted.connection
    parser = PduParser(MAX_LENGTH)
    assembler = MessageAssembler(DATA_LIMIT)
    while True:
        for event in parser.feed(connection.read(_IDLE_SECONDS)):
            if isinstance(event, ControlPdu):
                if event.kind is PduKind.RELEASE_RQ:
                    connection.send(encode_release_response())
                connection.hang_up()
                return
            message = assembler.take(event)
            if message is None:
                continue
            context = accepted.contexts.get(message.context)
            if context is None:
                raise ProtocolError("unknown-context")
            answer = _answer(
                message, context.transfer_syntax, accepted.request.calling_ae_title, settle
            )
            connection.send(
                encode_data(
                    message.context,
                    is_command=True,
                    data=answer,
                    max_length=accepted.request.max_length,
                )
            )
