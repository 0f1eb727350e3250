"""What a C-STORE is answered, decided without I/O."""

from dataclasses import dataclass

from darkroom_common.dicom.identity import Identity
from darkroom_common.dimse.statuses import StoreStatus


@dataclass(frozen=True)
class Offer:
    """What the sender says of an object before its bytes arrive."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str


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


def match(offer: Offer, identity: Identity) -> SetAside | None:
    """Return why an object that was read is not accepted, or None (PS3.4 B.2.3)."""
    said = (offer.sop_class_uid, offer.sop_instance_uid)
    if said != (identity.sop_class_uid, identity.sop_instance_uid):
        return SetAside(StoreStatus.DATA_SET_DOES_NOT_MATCH, "uid-mismatch")
    return None
