"""What has been repaired."""

from typing import ClassVar

from pydantic import Field

from darkroom_common.messages.base import Digest, Event, ObjectKey, ReceiptId, Uid


class InstanceRepaired(Event):
    """A damaged object is again as it was received: it was copied from the other store."""

    TYPE: ClassVar[str] = "dicom.instance.repaired.v1"

    receipt: ReceiptId
    study_instance_uid: Uid
    series_instance_uid: Uid
    sop_instance_uid: Uid
    object_key: ObjectKey
    kind: str = Field(max_length=32, description="of the finding: docs/operations.md has them")
    sha256: Digest = Field(description="of the data set, as it is again")
    size: int = Field(ge=0, description="bytes of the data set")
