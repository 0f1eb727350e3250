"""N-CREATE and N-SET of performed procedure steps, as SCU (PS3.4 annex F.7)."""

import time
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.dimse.proposal import Proposal
from darkroom_common.dimse.requestor import Peer, associate
from darkroom_common.dimse.users.find import Refused, context_for, read_answer
from darkroom_common.dimse.wire.data_set import IDENTIFIER_LIMIT, SYNTAXES, encode_data_set
from darkroom_common.dimse.wire.operations import encode_create, encode_set
from darkroom_transmit.remote.remotes import ANSWER_SECONDS

PROCEDURE_STEP: Final = "1.2.840.10008.3.1.2.3.3"


def _warning(status: int) -> bool:
    """Whether a request was done all the same, PS3.7 annex C."""
    return status in {0x0001, 0x0107, 0x0116} or status & 0xF000 == 0xB000  # noqa: PLR2004


def tell(peer: Peer, sop_instance_uid: str, attributes: Dataset, *, create: bool) -> int:
    """Tell of a procedure step and return the status: success or a warning. It blocks.

    Raises:
        Refused: another status.
        PeerFault: it is not known whether it was done.
    """
    association = associate(peer, [Proposal(PROCEDURE_STEP, (one,)) for one in SYNTAXES])
    try:
        context, syntax = context_for(association, PROCEDURE_STEP)
        message_id = association.next_message_id()
        encode = encode_create if create else encode_set
        association.ask(
            context,
            encode(message_id, PROCEDURE_STEP, sop_instance_uid),
            encode_data_set(attributes, syntax),
        )
        deadline = time.monotonic() + min(ANSWER_SECONDS, peer.answer_seconds)
        message = association.receive(deadline, data_limit=IDENTIFIER_LIMIT)
        answer = read_answer(message, message_id)
    except BaseException:
        association.abort()
        raise
    association.release()
    if answer.status and not _warning(answer.status):
        raise Refused(answer.status, answer.attributes)
    return answer.status
