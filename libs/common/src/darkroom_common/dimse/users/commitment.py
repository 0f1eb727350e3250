"""What both sides of storage commitment say in the same words (PS3.4 annex J, PS3.3 C.14)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from darkroom_common.dimse.statuses import SUCCESS
from darkroom_common.dimse.wire.command import CommandField, Element, Value, encode_command
from darkroom_common.dimse.wire.data_set import encode_data_set

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
WELL_KNOWN: Final = "1.2.840.10008.1.20.1.1"
"""The one SOP instance of it."""
REQUEST: Final = 1
"""The only action type."""
ALL_KEPT: Final = 1
SOME_LOST: Final = 2
"""Event types."""


def referenced(references: Iterable[tuple[str, str]]) -> Sequence:
    """Return the items that name instances by (SOP class, SOP instance)."""
    items = Sequence()
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = sop_instance
        items.append(item)
    return items


@dataclass(frozen=True)
class Report:
    """What is told of a transaction.

    Attributes:
        transaction_uid: of the request.
        references: SOP class by SOP instance UID, of all that was asked for.
        failed: failure reason (PS3.3 C.14.1.1) by SOP instance UID, of what is not kept.
        retrieve_ae: where the others can be had from.
    """

    transaction_uid: str
    references: Mapping[str, str]
    failed: Mapping[str, int]
    retrieve_ae: str


def encode_report(report: Report, message_id: int, syntax: str) -> tuple[bytes, bytes]:
    """Return command and data set of the N-EVENT-REPORT that tells what is kept.

    Args:
        report: what it tells.
        message_id: of it.
        syntax: one of `SYNTAXES`.
    """
    references, failed = report.references, report.failed
    data_set = Dataset()
    data_set.TransactionUID = report.transaction_uid
    data_set.RetrieveAETitle = report.retrieve_ae
    kept = [(uid, one) for one, uid in references.items() if one not in failed]
    if kept:
        data_set.ReferencedSOPSequence = referenced(kept)
    if failed:
        lost = referenced((references[one], one) for one in failed)
        for item, reason in zip(lost, failed.values(), strict=True):
            item.FailureReason = reason
        data_set.FailedSOPSequence = lost
    elements: dict[int, Value] = {
        Element.AFFECTED_SOP_CLASS: STORAGE_COMMITMENT,
        Element.AFFECTED_SOP_INSTANCE: WELL_KNOWN,
        Element.MESSAGE_ID: message_id,
        Element.EVENT_TYPE: SOME_LOST if failed else ALL_KEPT,
    }
    command = encode_command(CommandField.N_EVENT_REPORT, elements, data_set=True)
    return command, encode_data_set(data_set, syntax)


def failures(uids: Iterable[str], reasons: Iterable[int]) -> dict[str, int]:
    """Return what is not kept, with why, of instances and the reason of each; 0 is kept."""
    pairs = zip(uids, reasons, strict=True)
    return {uid: reason for uid, reason in pairs if reason != SUCCESS}
