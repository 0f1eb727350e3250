"""N-CREATE and N-SET as SCU: performed procedure steps (PS3.4 annex F.7), and notices."""

from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dicom.text_elements import declare_text
from darkroom_common.dimse.requestor import Peer, associate
from darkroom_common.dimse.users.find import Refused, context_for
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.command import CommandField, Element, encode_command
from darkroom_common.dimse.wire.data_set import SYNTAXES, encode_data_set
from darkroom_transmit.remote.remotes import ANSWER_SECONDS

PROCEDURE_STEP: Final = "1.2.840.10008.3.1.2.3.3"
_AFFECTED: Final = (Element.AFFECTED_SOP_CLASS, Element.AFFECTED_SOP_INSTANCE)
_REQUESTED: Final = (Element.REQUESTED_SOP_CLASS, Element.REQUESTED_SOP_INSTANCE)


def _warning(status: int) -> bool:
    """Whether a request was done all the same, PS3.7 annex C."""
    return status in {0x0001, 0x0107, 0x0116} or status & 0xF000 == 0xB000  # noqa: PLR2004


def tell(
    peer: Peer,
    sop_instance_uid: str,
    attributes: Dataset,
    *,
    create: bool,
    sop_class_uid: str = PROCEDURE_STEP,
) -> int:
    """Tell of a procedure step, or of another object; return the status. It blocks.

    Returns:
        Success or a warning.

    Raises:
        Refused: another status.
        PeerFault: it is not known whether it was done.
    """
    association = associate(peer, [Proposal(sop_class_uid, (one,)) for one in SYNTAXES])
    try:
        context, syntax = context_for(association, sop_class_uid)
        message_id = association.next_message_id()
        field = CommandField.N_CREATE if create else CommandField.N_SET
        sop_class, sop_instance = _AFFECTED if create else _REQUESTED
        command = encode_command(
            field,
            {
                sop_class: sop_class_uid,
                sop_instance: sop_instance_uid,
                Element.MESSAGE_ID: message_id,
            },
            data_set=True,
        )
        declare_text(attributes, wanted=peer.assumed.name)
        association.ask(context, command, encode_data_set(attributes, syntax))
        deadline = SYSTEM_CLOCK.monotonic() + min(ANSWER_SECONDS, peer.answer_seconds)
        answer = association.response(message_id, deadline).command
    except BaseException:
        association.abort()
        raise
    association.release()
    if answer.status and not _warning(answer.status):
        raise Refused(answer.status, answer.attributes)
    return answer.status
