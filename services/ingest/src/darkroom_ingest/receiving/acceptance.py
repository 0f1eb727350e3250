"""What the sender of an object is answered, decided without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from darkroom_common.dicom.identity import NONCONFORMANT_UID, Identity
from darkroom_common.dimse.statuses import StoreStatus


@dataclass(frozen=True)
class Offer:
    """What the sender says of an object before its bytes arrive."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    source: Literal["dimse", "stow"] = "dimse"
    study_instance_uid: str = ""
    """Of the study that it has to be of; empty: of any."""


@dataclass(frozen=True)
class Room:
    """The state of the volume."""

    free: int
    reserve: int
    failed: str = ""


@dataclass(frozen=True)
class Refuse:
    """Answer without keeping anything."""

    status: StoreStatus
    reason: str


@dataclass(frozen=True)
class SetAside:
    """Answer with a failure and keep the bytes in quarantine."""

    status: StoreStatus
    reason: str
    position: int | None = None
    """The byte of the data set where it could not be read on."""


INCOMPLETE: Final = "incomplete"
REASONS: Final[Mapping[str, str]] = {
    "truncated": "a value or a sequence runs past the end",
    "item-outside-sequence": "an item or delimiter stands where no sequence is open",
    "bad-item": "something other than an item stands in a sequence",
    "bad-fragment": "something other than a fragment stands in encapsulated pixel data",
    "nested-too-deep": "sequences are nested deeper than MAX_DEPTH",
    "too-many-elements": "it has more elements than MAX_ELEMENTS",
    "inflates-too-far": "it inflates to more than MAX_INFLATED_BYTES",
    "bad-deflate": "the deflated stream is damaged",
    "no-sop-uid": "it has no SOP class or SOP instance UID",
    "bad-uid": "it has a UID that can be none: too long, or with forbidden characters",
    "uid-mismatch": "the command named another object than the data set",
    "nonconformant-uid": "it has a UID against PS3.5 section 9.1, and STRICT_UIDS is set",
    "too-large": "it is longer than MAX_OBJECT_BYTES; only the bytes up to there were kept",
    INCOMPLETE: "not all bytes that were sent were kept",
}
"""Why an object stands in quarantine, or is not released from it."""
TOO_LARGE = SetAside(StoreStatus.CANNOT_UNDERSTAND, "too-large")


def admit(room: Room, *, draining: bool) -> Refuse | None:
    """Return why an object is refused before it is written, or None."""
    if draining:
        return Refuse(StoreStatus.REFUSED_OUT_OF_RESOURCES, "draining")
    if room.failed:
        return Refuse(StoreStatus.REFUSED_OUT_OF_RESOURCES, "spool-failed")
    return fits(room)


def fits(room: Room) -> Refuse | None:
    """Return why an object is not written any further, or None."""
    if room.free < room.reserve:
        return Refuse(StoreStatus.REFUSED_OUT_OF_RESOURCES, "reserve-reached")
    return None


def match(
    offer: Offer, identity: Identity, *, strict_uids: bool = False
) -> SetAside | Refuse | None:
    """Return why an object that was read is not accepted, or None (PS3.4 B.2.3)."""
    if offer.study_instance_uid not in ("", identity.study_instance_uid):
        return Refuse(StoreStatus.OTHER_STUDY, "other-study")
    said = (offer.sop_class_uid, offer.sop_instance_uid)
    if said != (identity.sop_class_uid, identity.sop_instance_uid):
        return SetAside(StoreStatus.DATA_SET_DOES_NOT_MATCH, "uid-mismatch")
    if strict_uids and NONCONFORMANT_UID in identity.flags:
        return SetAside(StoreStatus.CANNOT_UNDERSTAND, NONCONFORMANT_UID)
    return None
