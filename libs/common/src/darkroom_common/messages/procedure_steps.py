"""What modalities have told of their procedure steps, and what has become of orders."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from darkroom_common.messages.base import AeTitle, Event, MessageId, Uid


class ProcedureStepChanged(Event):
    """A modality has told that a performed procedure step begins, or how it has ended (MPPS).

    Published by ingest in the transaction that keeps it.
    """

    TYPE: ClassVar[str] = "dicom.procedure_step.changed.v1"

    sop_instance_uid: Uid
    state: Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"]
    study_instance_uids: tuple[Uid, ...]
    in_progress: tuple[Uid, ...] = Field(
        default=(), description="studies of them of which another step is in progress"
    )
    modality: str = Field(max_length=16)
    calling_ae_title: AeTitle


class WorklistChanged(Event):
    """An information system has changed the worklist: by HL7, or by a file that it has dropped.

    Published by ingest in the transaction that keeps the entries. What REST changes is audited by
    the api, which is asked for it.
    """

    TYPE: ClassVar[str] = "dicom.worklist.changed.v1"

    source: str = Field(max_length=16, description="`hl7` or `file`")
    kind: str = Field(max_length=32, description="of the message, such as `ORM^O01`, or the file")
    by: str = Field(max_length=64, description="who has sent it, in its own words")
    peer: str = Field(default="", max_length=64, description="the address; none of a file")
    entries: tuple[MessageId, ...] = Field(description="that have been added or changed")


class StudyOrdered(Event):
    """When a study was ordered is known, or is otherwise than it was.

    Published by ingest in the transaction that keeps, changes or removes an entry of the worklist,
    for the index: what is only tidied is not told.
    """

    TYPE: ClassVar[str] = "dicom.study.ordered.v1"

    study_instance_uid: Uid
    ordered_at: datetime | None = Field(description="null: there is no order of it any more")
    version: int = Field(ge=1, description="a later one is the truth, in whichever order they come")
