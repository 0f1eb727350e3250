"""C-FIND as SCU (PS3.4 sections C.4.1 and K.4.1)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.dimse.proposal import Proposal
from darkroom_common.dimse.requestor import Association, Peer, PeerFault, ReceivedMessage, associate
from darkroom_common.dimse.statuses import CANCELLED, SUCCESS, meaning
from darkroom_common.dimse.wire.command import CommandField
from darkroom_common.dimse.wire.data_set import (
    IDENTIFIER_LIMIT,
    SYNTAXES,
    decode_data_set,
    encode_data_set,
)
from darkroom_common.dimse.wire.operations import Answer, decode_answer, encode_cancel, encode_query
from darkroom_common.dimse.wire.pdu import ProtocolError

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
MODALITY_WORKLIST_FIND: Final = "1.2.840.10008.5.1.4.31"
CANCEL_SECONDS: Final = 5.0
"""How long a peer may take to end after a C-CANCEL before it is aborted."""


class Refused(PeerFault):
    """The peer has answered with a status that is no success.

    Attributes:
        status: PS3.7 annex C.
        attributes: tags that it names.
    """

    def __init__(self, status: int, attributes: tuple[int, ...] = ()) -> None:
        super().__init__(f"Status{status:04X}", meaning(status))
        self.status = status
        self.attributes = attributes


@dataclass(frozen=True)
class Matches:
    """What was found. `truncated`: there were more than the limit."""

    data_sets: tuple[Dataset, ...]
    truncated: bool


def context_for(association: Association, sop_class_uid: str) -> tuple[int, str]:
    """Return the (context id, transfer syntax) that was accepted for a SOP class.

    Raises:
        PeerFault: none was.
    """
    for syntax in SYNTAXES:
        number = association.accepted.get((sop_class_uid, syntax))
        if number is not None:
            return number, syntax
    raise PeerFault("SopClassNotAccepted", "the peer does not serve this", transient=False)


def read_answer(message: ReceivedMessage, message_id: int) -> Answer:
    """Return the response that a message is.

    Raises:
        PeerFault: it is none, or answers something else.
    """
    try:
        return decode_answer(message.command, message_id)
    except ProtocolError as error:
        raise PeerFault("ProtocolError", error.code) from error


def read_identifier(association: Association, message: ReceivedMessage) -> Dataset:
    """Return the data set of a message.

    Raises:
        PeerFault: it cannot be read.
    """
    _, syntax = association.contexts.get(message.context, ("", SYNTAXES[0]))
    try:
        return decode_data_set(message.data_set, syntax)
    except ProtocolError as error:
        raise PeerFault("MalformedIdentifier") from error


def find(
    association: Association,
    sop_class_uid: str,
    identifier: Dataset,
    *,
    limit: int,
    deadline: float,
) -> Matches:
    """Ask, and take at most `limit` matches; then the rest is cancelled.

    Args:
        association: open, with the SOP class.
        sop_class_uid: of the information model.
        identifier: the keys.
        limit: of matches.
        deadline: on the monotonic clock, for all of it.

    Raises:
        Refused: the final status is a failure.
        PeerFault: the association is of no use any more.
    """
    context, syntax = context_for(association, sop_class_uid)
    message_id = association.next_message_id()
    association.ask(
        context,
        encode_query(CommandField.C_FIND, message_id, sop_class_uid),
        encode_data_set(identifier, syntax),
    )
    found: list[Dataset] = []
    truncated = False
    while True:
        patience = min(deadline, time.monotonic() + association.peer.answer_seconds)
        try:
            message = association.receive(patience, data_limit=IDENTIFIER_LIMIT)
        except PeerFault:
            if not truncated:
                raise
            association.abort()  # it does not care for a C-CANCEL; what was wanted is here
            return Matches(tuple(found), truncated)
        answer = read_answer(message, message_id)
        if not answer.pending:
            if answer.status not in {SUCCESS, CANCELLED} or (
                answer.status == CANCELLED and not truncated
            ):
                raise Refused(answer.status, answer.attributes)
            return Matches(tuple(found), truncated)
        if truncated:
            continue
        if len(found) == limit:
            truncated = True
            association.ask(context, encode_cancel(message_id), b"")
            deadline = min(deadline, time.monotonic() + CANCEL_SECONDS)
            continue
        found.append(read_identifier(association, message))


def find_once(
    peer: Peer, sop_class_uid: str, identifiers: Sequence[Dataset], *, limit: int, seconds: float
) -> list[Matches]:
    """Open an association, ask each of these, release. It blocks.

    Args:
        peer: whom to ask.
        sop_class_uid: of the information model.
        identifiers: the keys of each question.
        limit: of matches of each.
        seconds: for all answers together.

    Raises:
        PeerFault: see `find`.
    """
    deadline = time.monotonic() + seconds
    proposals = [Proposal(sop_class_uid, (syntax,)) for syntax in SYNTAXES]
    association = associate(peer, proposals)
    try:
        found = [
            find(association, sop_class_uid, one, limit=limit, deadline=deadline)
            for one in identifiers
        ]
    except BaseException:
        association.abort()
        raise
    association.release()
    return found
