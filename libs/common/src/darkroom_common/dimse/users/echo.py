"""C-ECHO as SCU (PS3.7 section 9.1.5)."""

from darkroom_common.dimse.contexts import VERIFICATION
from darkroom_common.dimse.requestor import Association, Peer, PeerFault, associate
from darkroom_common.dimse.wire.association_items import IMPLICIT_VR_LITTLE_ENDIAN, Proposal
from darkroom_common.dimse.wire.command import CommandField, Element, Value, encode_command


def echo(peer: Peer) -> None:
    """Open an association, ask whether the peer is there, release. It blocks.

    Raises:
        PeerFault: it is not, does not serve verification, or answers with a failure.
    """
    association = associate(peer, [Proposal(VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,))])
    try:
        status = _echo(association)
    except BaseException:
        association.abort()
        raise
    association.release()
    if status:
        raise PeerFault(f"EchoStatus{status:04X}")


def _echo(association: Association) -> int:
    number = association.accepted.get((VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN))
    if number is None:
        raise PeerFault("SopClassNotAccepted", "verification", transient=False)
    message_id = association.next_message_id()
    named: dict[int, Value] = {
        Element.AFFECTED_SOP_CLASS: VERIFICATION,
        Element.MESSAGE_ID: message_id,
    }
    association.ask(number, encode_command(CommandField.C_ECHO, named))
    return association.response(message_id).command.status
