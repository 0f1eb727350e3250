"""What ingest (and the API's STOW-RS) tells: objects received."""

from typing import ClassVar, Literal

from pydantic import AwareDatetime, Field

from darkroom_common.messages.base import AeTitle, Digest, Event, ObjectKey, ReceiptId, Uid
from darkroom_common.messages.batch import Batch, Item, items_field


class StoredItem(Item):
    """One object that is durable in the store."""

    study_instance_uid: Uid = Field(description="derived when the data set has none; see flags")
    series_instance_uid: Uid = Field(description="derived when the data set has none; see flags")
    sop_instance_uid: Uid
    sop_class_uid: Uid
    transfer_syntax_uid: Uid
    object_key: ObjectKey
    sha256: Digest = Field(description="of the data set's bytes as received, without file meta")
    size: int = Field(ge=0, description="bytes of the data set")
    data_set_offset: int = Field(ge=0, description="where the data set starts in the object")
    source: Literal["dimse", "stow"] = "dimse"
    calling_ae_title: AeTitle
    called_ae_title: AeTitle
    received_at: AwareDatetime
    flags: tuple[str, ...] = Field(
        default=(), description="nonconformant-uid, study-uid-derived, series-uid-derived"
    )


class InstancesStored(Batch):
    """Objects are durable in the store: what the relay has moved there at once.

    Every accepted object is in one of these, after the move from spool to store. A relay that
    crashes and repeats itself publishes it again, in other company; it is known by its receipt.
    """

    TYPE: ClassVar[str] = "dicom.instances.stored.v2"

    items: tuple[StoredItem, ...] = items_field()


class InstanceQuarantined(Event):
    """What was sent could not be accepted as an object; its bytes are in quarantine."""

    TYPE: ClassVar[str] = "dicom.instance.quarantined.v1"

    receipt: ReceiptId
    reason: str = Field(description="a code of the closed list in docs/operations.md")
    status: int = Field(description="the status that the sender got, PS3.7 annex C")
    size: int = Field(ge=0)
    calling_ae_title: AeTitle
