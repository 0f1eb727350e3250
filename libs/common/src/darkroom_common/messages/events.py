"""What has happened, as the services say it: facts in the past tense."""

from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from darkroom_common.conformance.lines import StatedLine
from darkroom_common.messages.base import (
    AeTitle,
    ConflictId,
    Digest,
    Event,
    MessageId,
    ObjectKey,
    ReceiptId,
    Uid,
)
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
    flags: tuple[str, ...] = Field(default=(), description="what was odd: docs/operations.md")
    replicated: bool = Field(default=False, description="it has come from another site")


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
    replicated: bool = Field(default=False, description="it has come from another site")


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


class InstancesReplaced(Batch):
    """Instances of the index have other bytes than before: an operator has resolved a conflict.

    Their attributes may be others, too, those of study and patient included. Published by metadata
    in the transaction of the change, once for every change of an instance; the `receipt` of an item
    is that of the change.
    """

    TYPE: ClassVar[str] = "dicom.instances.replaced.v1"

    items: tuple[IndexedItem, ...] = items_field()


ConflictKind = Literal["instance", "correction", "patient", "series", "modality"]
ConflictState = Literal["open", "kept", "promoted", "discarded", "merged", "moved", "split"]


class ConflictOpened(Event):
    """Something disagrees with what the index has, and waits for an operator.

    An instance has come with other bytes, a study with another patient, a series in another study
    or with another modality. Published by metadata in the transaction that keeps it; all of it is
    kept, and nothing that was there has been changed.
    """

    TYPE: ClassVar[str] = "dicom.conflict.opened.v1"

    conflict_id: ConflictId
    kind: ConflictKind
    study_instance_uid: Uid = Field(description="of what has come")
    series_instance_uid: Uid
    sop_instance_uid: Uid = Field(description="the first instance that disagrees")
    attributes: tuple[str, ...] = Field(default=(), description="keywords of what disagrees")
    calling_ae_title: AeTitle


class ConflictResolved(Event):
    """An operator's decision about a conflict is carried out.

    Published by metadata in the last transaction of it; what it has changed of instances is in
    `dicom.instances.replaced.v1`.
    """

    TYPE: ClassVar[str] = "dicom.conflict.resolved.v1"

    conflict_id: ConflictId
    kind: ConflictKind
    state: ConflictState
    instances: int = Field(ge=0, description="that have other bytes or attributes than before")
    requested_by: str = Field(default="", max_length=64, description="user name")


class AssociationItem(Item):
    """One association that has ended, or was not opened. `receipt` is its own id."""

    service: str = Field(max_length=32, description="that has served or opened it")
    direction: Literal["in", "out"] = Field(description="`in` was opened to us")
    peer: str = Field(max_length=253, description="address or name of the other node")
    calling_ae_title: AeTitle
    called_ae_title: AeTitle
    protection: str = Field(default="", max_length=16, description="version of TLS, if any")
    certificate_sha256: str = Field(default="", max_length=64, description="that the peer shows")
    result: str = Field(
        max_length=16, description="released, aborted, rejected, or refused by TLS or the network"
    )
    reason: str = Field(default="", max_length=128, description="a word, when it was not released")
    began_at: AwareDatetime
    ended_at: AwareDatetime
    commands: dict[str, int] = Field(
        default_factory=dict, description="how many of each were answered, by names of PS3.7"
    )
    failures: int = Field(default=0, ge=0, description="of these")
    times: int = Field(default=1, ge=1, description="how often the same rejection came")
    studies: tuple[Uid, ...] = Field(default=(), description="of which instances were retrieved")


class AssociationsEnded(Batch):
    """Associations have ended. Published by whoever has served or opened them, for the audit log.

    It may come again after a crash, in other company; each is known by its receipt.
    """

    TYPE: ClassVar[str] = "audit.associations.ended.v1"

    items: tuple[AssociationItem, ...] = items_field()


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
    replicated: bool = Field(default=False, description="it has come from another site")


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


class StudyRemoved(Event):
    """A study was taken away from everybody, or what was left of it has gone for good.

    Published by metadata in the transaction that does so, for the audit log.
    """

    TYPE: ClassVar[str] = "dicom.study.removed.v1"

    study_instance_uid: Uid
    how: Literal["deleted", "purged"]
    part: Uid | None = Field(default=None, description="series or instance, if not all of it")
    removal_id: MessageId = Field(description="of the removal that was asked for")
    requested_by: str = Field(default="", max_length=64, description="who asked for it")
    objects: int = Field(default=0, ge=0, description="that went for good")
    rule: str = Field(
        default="", max_length=500, description="of retention, if nobody has asked for it"
    )


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


TransmitState = Literal[
    "PENDING", "SENDING", "RETRYING", "SENT", "COMMITTED", "FAILED", "CANCELLED"
]
PrintState = Literal[
    "QUEUED", "COMPOSING", "PRINTING", "DONE", "RETRYING", "UNKNOWN", "FAILED", "CANCELLED"
]


class TransmitJobChanged(Event):
    """A transmit job has entered a state. Published by transmit in the job's transaction."""

    TYPE: ClassVar[str] = "transmit.job.changed.v1"

    job_id: MessageId
    destination: str = Field(max_length=64)
    state: TransmitState
    attempt: int = Field(default=0, ge=0)
    reason: str = Field(
        default="", max_length=500, description="a word of docs/transmit.md, if not all is well"
    )


class PrintJobChanged(Event):
    """A print job has entered a state. Published by print in the job's transaction."""

    TYPE: ClassVar[str] = "print.job.changed.v1"

    job_id: MessageId
    printer: str = Field(max_length=64)
    state: PrintState
    reason: str = Field(
        default="", max_length=500, description="for people, without PHI, if not all is well"
    )


class JobChanged(Event):
    """A job of another kind has entered a state. Published in the job's transaction.

    Those of sending and printing have events of their own.
    """

    TYPE: ClassVar[str] = "job.changed.v1"

    kind: Literal["retrieve", "export", "bulk"]
    job_id: MessageId
    lane: str = Field(max_length=64, description="remote node, format, or what is changed")
    state: str = Field(max_length=32, description="of its kind")
    reason: str = Field(
        default="", max_length=500, description="for people, without PHI, if not all is well"
    )


class NodeStateChanged(Event):
    """A destination or printer answers the scheduled echo, or does not any more (TRX-14).

    It is down after two in a row that were not answered. Published by its service in the
    transaction that keeps the state; also when it is known for the first time.
    """

    TYPE: ClassVar[str] = "node.state.changed.v1"

    kind: Literal["destination", "printer"]
    name: str = Field(max_length=64)
    state: Literal["UP", "DOWN"]
    reason: str = Field(default="", max_length=200, description="why it is down, without PHI")
    since: AwareDatetime


class CommandRefused(Event):
    """A command was taken and will never be carried out, and no job of its owner says so.

    Published by the owner in the transaction that takes the command; `command_id` is the `id` of
    the command. Where a job row can be made, the job is FAILED instead and this is not published.
    """

    TYPE: ClassVar[str] = "command.refused.v1"

    command_id: MessageId
    type: str = Field(max_length=64, description="of the command")
    reason: str = Field(max_length=500, description="a sentence for people, without PHI")


class SettingItem(BaseModel):
    """One setting as it is in force."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    name: str = Field(max_length=128, description="of the environment variable")
    value: Any = Field(description="`(hidden)` for a secret that is set; null for what is not set")
    is_default: bool
    description: str = ""


class SettingsInForce(Event):
    """A service has started with these settings; what is secret is not among the values."""

    TYPE: ClassVar[str] = "service.settings.in_force.v1"

    service: str = Field(max_length=32)
    settings: tuple[SettingItem, ...]
    stated: tuple[StatedLine, ...] = Field(default=(), description="for the conformance statement")


LicenceState = Literal["unconfigured", "valid", "grace", "expired", "invalid"]
LicenceNotice = Literal["nobody", "administrator", "users"]


class LicenceChecked(Event):
    """The licence was looked at; `state` is in force from now on.

    Published by licensing when it starts, when anything of this changes, and when it is asked to.
    No state ever stops patient data (LIC-03): only new administrative work is refused, while
    `read_only` is true, or beyond what `features` and `entitlements` name.
    """

    TYPE: ClassVar[str] = "licence.state.checked.v1"

    state: LicenceState
    reason: str = Field(default="", description="a sentence for people; empty when all is well")
    valid_until: AwareDatetime | None = None
    entitlements: dict[str, int] = Field(
        default_factory=dict,
        description="how many `destinations`, `printers` and `users` there may be; without a"
        " number there is no limit",
    )
    features: tuple[str, ...] = Field(default=("*",), description="`*` is all of them")
    licence_id: str = Field(default="", description="empty: the community edition")
    customer: str = ""
    confirmed_at: AwareDatetime | None = Field(default=None, description="by Odoo or by a file")
    read_only: bool = Field(default=False, description="new administrative work is refused")
    read_only_from: AwareDatetime | None = Field(
        default=None, description="since when it is, or will be unless something changes"
    )
    notice: LicenceNotice = Field(default="nobody", description="who is to be told of the reason")
    stage: str = Field(default="", description="changes when there is something new to tell")
    number: int = Field(default=0, description="grows with every one that is published")
