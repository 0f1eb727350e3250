"""C-FIND as SCU (PS3.4 sections C.4.1 and K.4.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dicom.text_elements import declare_text
from darkroom_common.dimse.requestor import Association, Peer, PeerFault, associate
from darkroom_common.dimse.statuses import CANCELLED, SUCCESS, meaning
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.command import (
    CommandField,
    Element,
    Value,
    encode_cancel,
    encode_command,
)
from darkroom_common.dimse.wire.data_set import SYNTAXES, decode_data_set, encode_data_set
from darkroom_common.dimse.wire.messages import Message
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


def read_identifier(association: Association, message: Message) -> Dataset:
    """Return the data set of a message.

    Raises:
        PeerFault: it cannot be read.
    """
    syntax = association.contexts[message.context].transfer_syntax
    try:
        return decode_data_set(message.data_set, syntax, association.peer.assumed)
    except ProtocolError as error:
        raise PeerFault("MalformedIdentifier") from error


def ask(
    association: Association,
    command_field: CommandField,
    sop_class_uid: str,
    identifier: Dataset,
    elements: Mapping[int, Value] | None = None,
) -> tuple[int, int]:
    """Send a C-FIND, C-GET or C-MOVE of medium priority; return (context id, message id).

    Raises:
        PeerFault: the SOP class was not accepted, or the peer has gone.
    """
    context, syntax = context_for(association, sop_class_uid)
    message_id = association.next_message_id()
    values = {
        Element.AFFECTED_SOP_CLASS: sop_class_uid,
        Element.MESSAGE_ID: message_id,
        Element.PRIORITY: 0,
        **(elements or {}),
    }
    command = encode_command(command_field, values, data_set=True)
    declare_text(identifier, wanted=association.peer.assumed.name)
    association.ask(context, command, encode_data_set(identifier, syntax))
    return context, message_id


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
    context, message_id = ask(association, CommandField.C_FIND, sop_class_uid, identifier)
    found: list[Dataset] = []
    truncated = False
    while True:
        patience = min(deadline, SYSTEM_CLOCK.monotonic() + association.peer.answer_seconds)
        try:
            message = association.response(message_id, patience)
        except PeerFault:
            if not truncated:
                raise
            association.abort()  # it does not care for a C-CANCEL; what was wanted is here
            return Matches(tuple(found), truncated)
        answer = message.command
        if not answer.is_pending:
            if answer.status not in {SUCCESS, CANCELLED} or (
                answer.status == CANCELLED and not truncated
            ):
                raise Refused(answer.status, answer.attributes)
            return Matches(tuple(found), truncated)
        if truncated:
            continue
        if len(found) == limit:
            truncated = True
            association.ask(context, encode_cancel(message_id))
            deadline = min(deadline, SYSTEM_CLOCK.monotonic() + CANCEL_SECONDS)
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
    deadline = SYSTEM_CLOCK.monotonic() + seconds
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
