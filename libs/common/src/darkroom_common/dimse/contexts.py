"""The SOP classes and transfer syntaxes that receiving accepts, from pydicom's dictionary."""

from typing import Final

from pydicom.uid import UID_dictionary, UncompressedTransferSyntaxes  # type: ignore[attr-defined] # documented, not re-exported

from darkroom_common.dicom.syntaxes import RECENT

VERIFICATION: Final = "1.2.840.10008.1.1"
_NOT_STORED: Final = ("Storage Commitment", "Storage Management")
_NOT_FOR_DIMSE: Final = frozenset(
    {
        "1.2.840.10008.1.2.6.1",  # RFC 2557 MIME encapsulation (retired)
        "1.2.840.10008.1.2.6.2",  # XML encoding (retired)
        "1.2.840.10008.1.20",  # Papyrus 3 (retired)
    }
)
_RECENT: Final = (
    "1.2.840.10008.5.1.4.1.1.9.100.1",  # Waveform Presentation State Storage
    "1.2.840.10008.5.1.4.1.1.9.100.2",  # Waveform Acquisition Presentation State Storage
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage, which OHIF 3.13 writes
    "1.2.840.10008.5.1.4.1.1.66.8",  # Height Map Segmentation Storage
)
"""Storage SOP classes that pydicom's dictionary may not have yet."""
_STREAMING: Final = "1.2.840.10008.1.2.7."  # SMPTE ST 2110, real-time video only


def storage_sop_classes() -> tuple[str, ...]:
    """Return the UIDs of all storage SOP classes, the retired ones too: archives send them."""
    known = (
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class"
        and "Storage" in name
        and not any(name.startswith(other) for other in _NOT_STORED)
    )
    return tuple(dict.fromkeys((*known, *_RECENT)))


def transfer_syntaxes() -> tuple[str, ...]:
    """Return the UIDs of all transfer syntaxes of data sets, the uncompressed ones first."""
    first = [str(uid) for uid in UncompressedTransferSyntaxes]
    others = [
        uid
        for uid, (_, kind, *_) in UID_dictionary.items()
        if kind == "Transfer Syntax"
        and uid not in first
        and uid not in _NOT_FOR_DIMSE
        and not uid.startswith(_STREAMING)
    ]
    return tuple(dict.fromkeys((*first, *others, *RECENT)))
