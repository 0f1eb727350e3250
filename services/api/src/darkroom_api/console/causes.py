"""Words of ours for what went wrong, as a sentence for people: the filter `cause`."""

import re
from collections.abc import Mapping
from typing import Final

_AWAY: Final = "Nobody answers at its address: it is switched off, or address or port are wrong."
_BROKEN: Final = "The connection broke before everything had arrived."
_STORE: Final = "The stored object is not there as the index says: see the findings."
_COMMIT: Final = "The destination has not confirmed that it keeps the images."
_SENTENCES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ConnectionRefused", "ConnectTimeout", "HostUnreachable"), _AWAY),
    "HostUnknown": "There is no machine of this name: the host of the destination is wrong.",
    **dict.fromkeys(
        (
            *("ConnectionLost", "AnswerTimeout", "SendTimeout", "Aborted", "Released"),
            "ProtocolError",
        ),
        _BROKEN,
    ),
    "RejectedTransient": "It is too busy for another connection just now.",
    "RejectedPermanent": "It does not accept us: our AE title is not on its list.",
    "CertificateRefused": "Its certificate is not trusted here.",
    "CertificateNotStrict": "Its certificate or authority does not follow RFC 5280 in all points"
    " (key usage, for example): have it replaced, or say tls.strict = false of it.",
    "TlsFailed": "A secure connection could not be made.",
    "BadCertificate": "It does not trust our certificate.",
    "PoolExhausted": "All connections to it are in use.",
    "OutOfResources": "It has no room left, and asks for patience.",
    "ProcessingFailure": "It could not work on what it got, and asks for patience.",
    "ResourceLimitation": "It has no resources left, and asks for patience.",
    "DataSetDoesNotMatch": "It refuses these images: they are not what their kind says.",
    "CannotUnderstand": "It refuses these images: it cannot understand them.",
    "SopClassNotSupported": "It does not take images of this kind.",
    "SopClassNotAccepted": "It does not take images of this kind.",
    "TransferSyntaxNotAccepted": "It takes these images in no form that we can give them.",
    "NotAuthorised": "It does not allow us to store images of this kind.",
    **dict.fromkeys(
        ("ObjectMissing", "ObjectDamaged", "ObjectNotFound", "ObjectsNotFound"), _STORE
    ),
    "NotValid": "It was made here, and does not follow the standard any more: correct its study.",
    "UnknownDestination": "There is no such destination any more.",
    "KindNotAvailable": "The destination is of a kind that is not available here.",
    "Misconfigured": "The destination cannot be used as it is set up.",
    "DestinationRemoved": "The destination that was meant has been removed.",
    **dict.fromkeys(
        ("NotCommitted", "CommitmentTimeout", "CommitmentNotSupported", "CommitmentRefused"),
        _COMMIT,
    ),
    "InvalidMessage": "What a program has asked for cannot be read.",
    "truncated": "It breaks off before its end: part of it was lost on the way.",
    "item-outside-sequence": "Its structure is broken: a fault of what has made it.",
    "bad-item": "Its structure is broken: a fault of what has made it.",
    "bad-fragment": "Its structure is broken: a fault of what has made it.",
    "bad-deflate": "Its compressed data are damaged.",
    "no-sop-uid": "It does not say what it is: the UID of its kind or its own is missing.",
    "bad-uid": "It has a UID that can be none.",
    "uid-mismatch": "The sender has announced another object than it has sent.",
    "too-large": "It is larger than what is accepted here.",
    "missing-object": "An image that the index knows is not in the store.",
    "altered-object": "The bytes of an image are not those that were received.",
    "wrong-size": "An image is not as long as it was when it was received.",
    "orphan-object": "There is an object in the store that the index does not know.",
    "unreadable": "An object in the store cannot be read.",
    "replica-damaged": "The second store has not what was copied there.",
    "instance": "The same image has come twice, with other bytes.",
    "correction": "A corrected image has come for one that is there.",
    "patient": "A study has images of two patients.",
    "series": "A series has images of two studies.",
    "modality": "A series has images of two modalities.",
}


def cause(word: str | None) -> str:
    """Return what a word of docs/transmit.md or docs/operations.md means, or that word itself."""
    said = str(word or "")
    first = re.split("[ :]", said, maxsplit=1)[0].rstrip(".0123456789")
    return _SENTENCES.get(said) or _SENTENCES.get(first) or said
