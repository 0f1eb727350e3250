"""What metadata tells: the index has changed."""

from typing import ClassVar, Literal

from pydantic import Field

from darkroom_common.messages.base import AeTitle, Digest, Event, ObjectKey, ReceiptId, Uid
from darkroom_common.messages.batch import Batch, Item, items_field


class IndexedItem(Item):
    """One instance that was not known before."""

    study_instance_uid: Uid
    series_instance_uid: Uid
    sop_instance_uid: Uid
    sop_class_uid: Uid
    transfer_syntax_uid: Uid
    modality: str | None = None
    object_key: ObjectKey
    sha256: Digest
    size: int
    calling_ae_title: AeTitle
    called_ae_title: AeTitle


class InstancesIndexed(Batch):
    """Instances that were not known before are in the index: those of one transaction.

    Every instance is in one of these, once.
    """

    TYPE: ClassVar[str] = "dicom.instances.indexed.v2"

    items: tuple[IndexedItem, ...] = items_field()


class InstanceConflicted(Event):
    """A known SOP instance UID came with other bytes: both are kept, the first stays in force."""

    TYPE: ClassVar[str] = "dicom.instance.conflicted.v1"

    receipt: ReceiptId
    study_instance_uid: Uid
    sop_instance_uid: Uid
    object_key: ObjectKey
    sha256: Digest
    calling_ae_title: AeTitle


class StudyCompleted(Event):
    """No instance of the study has arrived for the quiet time: it can be routed as a whole.

    Published again with a higher `revision` when more instances arrive later.
    """

    TYPE: ClassVar[str] = "dicom.study.completed.v1"

    study_instance_uid: Uid
    revision: int = Field(ge=1)
    series: int
    instances: int
    modalities: tuple[str, ...]
    calling_ae_titles: tuple[AeTitle, ...] = ()


class StudyStatusChanged(Event):
    """A study has gone from one state of its life to another.

    That it is complete after the quiet time is told by `dicom.study.completed.v1` instead.
    """

    TYPE: ClassVar[str] = "dicom.study.status_changed.v1"

    study_instance_uid: Uid
    old: Literal["receiving", "complete", "verified", "archived", "deleted"]
    new: Literal["receiving", "complete", "verified", "archived", "deleted"]
    revision: int = Field(ge=0)
    version: int = Field(ge=1)
    requested_by: str = Field(default="", max_length=64, description="user name, if anybody's")


class InstanceDamaged(Event):
    """Verification found an indexed object that is not as it was received.

    Once for each finding: again only when it was well in between, or is damaged otherwise.
    """

    TYPE: ClassVar[str] = "dicom.instance.damaged.v1"

    receipt: ReceiptId
    study_instance_uid: Uid
    series_instance_uid: Uid
    sop_instance_uid: Uid
    object_key: ObjectKey
    kind: Literal["missing-object", "altered-object", "wrong-size", "unreadable"]
    sha256: Digest = Field(description="of the data set as it was received")
    size: int = Field(ge=0, description="bytes of the data set as it was received")
    found_sha256: Digest | None = Field(default=None, description="what was read, if it was")
